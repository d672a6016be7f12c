import itertools

import numpy as np
import pandas as pd
import pytest

from fashion.reports.compare import MAX_NAME
from fashion.reports.comparison_figures import (
    plot_class_f1,
    plot_cost,
    plot_intervals,
    plot_validation,
)
from fashion.reports.names import figure_names

NAMES = [
    f"timm,model.backbone=convnext_large.fb_in22k_ft_in1k_384,seed={seed}" for seed in range(9)
]
LABELS = figure_names(NAMES, MAX_NAME)


def table(n, study=None):
    accuracy = np.linspace(0.93, 0.91, n)
    figures = {"accuracy": accuracy, "macro_auprc": accuracy + 0.02}
    bounds = {f"{key}_low": value - 0.01 for key, value in figures.items()}
    bounds |= {f"{key}_high": value + 0.01 for key, value in figures.items()}
    costs = {"images_per_second": np.geomspace(5, 500, n), "seconds_per_epoch": 60.0}
    kinds = (["ensemble", "seeds"] + ["run"] * n)[:n]
    beside = {"study_accuracy": study, "study_macro_auprc": study}
    return pd.DataFrame({"run": NAMES[:n], "kind": kinds, **figures, **bounds, **costs, **beside})


def classes(f1, names):
    return pd.DataFrame({"f1": f1, "recall": f1, "support": 100}, index=list(names))


def texts(figure):
    figure.draw_without_rendering()
    found = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    found += [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()]
    for legend in figure.legends:
        found += [text.get_text() for text in legend.get_texts()]
    return found


@pytest.mark.parametrize("study", [None, 0.92])
def test_each_row_has_its_dot_and_interval(study):
    figure = plot_intervals(table(5, study), LABELS)
    for axes, shift in zip(figure.axes, (0, 0.02), strict=True):
        lines, dots = axes.collections[0], axes.collections[1]
        shown = dots.get_offsets()[:, 0].tolist()
        assert shown == pytest.approx((np.linspace(0.91, 0.93, 5) + shift).tolist())
        ends = [segment[:, 0] for segment in lines.get_segments()]
        assert np.ptp(ends, axis=1).tolist() == pytest.approx([0.02] * 5)
    assert ("study" in texts(figure)) == (study is not None)


def test_long_names_stay_apart():
    for figure in (
        plot_intervals(table(9), LABELS),
        plot_cost(table(9), LABELS),
        plot_class_f1({name: classes([0.5, 0.9], ["Bags", "Caps"]) for name in NAMES}, LABELS),
    ):
        shown = [text for text in texts(figure) if "seed=" in text]
        assert len(set(shown)) == 9
        assert max(map(len, shown)) <= MAX_NAME


def test_the_epoch_that_was_kept_is_marked():
    history = pd.DataFrame({"epoch": range(4), "val/accuracy": [0.5, 0.7, 0.9, 0.8]})
    histories = {"a": history.assign(**{"val/macro_auprc": [0.1, 0.9, 0.2, np.nan]})}
    axes = plot_validation(histories, {"a": "a"}).axes[0]
    curve, best = axes.lines[:2]
    assert curve.get_ydata().tolist() == [0.5, 0.7, 0.9, 0.8]
    assert (best.get_xdata().item(), best.get_ydata().item()) == (2, 0.7)


def test_a_cost_that_nobody_measured_is_said_to_be_missing():
    figure = plot_cost(table(3).assign(images_per_second=None), LABELS)
    left, right = figure.axes
    assert [text.get_text() for text in left.texts] == ["not measured"]
    assert len(right.collections) == 3


def test_the_hardest_class_is_on_top():
    tables = {"a": classes([0.9, 0.1, 0.5], "XYZ"), "b": classes([0.8, 0.2, 0.6], "XYZ")}
    axes = plot_class_f1(tables, {"a": "a", "b": "b"}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Y", "Z", "X"]
    assert [text.get_text() for text in axes.texts][:2] == ["0.10", "0.20"]


def test_of_many_classes_those_that_lose_most_photos_in_all_runs_are_shown():
    names = [f"class {i:04}" for i in range(1000)]
    tables = {name: classes(np.full(1000, 0.9), names) for name in "ab"}
    tables["a"].loc["class 0500", "recall"] = 0.8  # of 100 images
    tables["b"].loc["class 0700", ["recall", "support"]] = 0.8, 10
    figure = plot_class_f1(tables, {"a": "a", "b": "b"})
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(rows) == 40
    assert "class 0500" in rows
    assert "class 0700" not in rows
    assert "the 40 of 1,000 classes that lose most photos" in figure.get_suptitle()
    assert figure.get_figheight() < 15


@pytest.mark.parametrize("highest", [3.3, 40, 900, 9000, 2e6])
def test_the_numbers_below_the_costs_do_not_touch(highest):
    costs = table(2).assign(seconds_per_epoch=[3.1, highest])
    figure = plot_cost(costs, LABELS)
    figure.draw_without_rendering()
    boxes = [
        label.get_window_extent()
        for label in figure.axes[1].get_xticklabels(which="both")
        if label.get_text()
    ]
    left, right = figure.axes[1].get_window_extent().intervalx
    boxes = sorted((box.x0, box.x1) for box in boxes if left <= (box.x0 + box.x1) / 2 <= right)
    assert len(boxes) >= 2
    assert all(after > end for (_, end), (after, _) in itertools.pairwise(boxes))
