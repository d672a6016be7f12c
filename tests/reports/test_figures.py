import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text

from fashion.metrics.metrics import class_curves, pooled_curve
from fashion.metrics.predictions import Predictions, per_class_table
from fashion.metrics.study import load_study
from fashion.reports.choice import choose_classes, in_words
from fashion.reports.figures import (
    plot_class_distribution,
    plot_confusion_matrix,
    plot_history,
    plot_per_class_f1,
    plot_pr_curves,
)
from fashion.reports.report import confusions

MANY = 1_000
NAMES = {
    MANY: [f"class {i:04}" for i in range(MANY)],
    54: load_study()["class_names"],
    3: ["$x_1$ costs $5", "_under_score", "A class name that goes on and on, far beyond the axis"],
    2: ["Bags", "Caps"],
}


def draw_scores(k, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, k, (20 * k,), generator=generator)
    scores = torch.rand(20 * k, k, generator=generator)
    scores[torch.arange(20 * k), targets] += 0.5
    return scores, targets


def history_figure(k):
    steps = np.linspace(0, 1, k)
    scores = {f"{s}/{n}": steps for s in ("train", "val") for n in ("loss", "accuracy")}
    macro = {"val/macro_f1": steps, "val/macro_auprc": steps**2}
    history = pd.DataFrame({"epoch": range(k), "lr": 1e-4 * (1 - steps), **scores, **macro})
    return plot_history(history, k // 2, "Training: resnet50")


def f1_figure(k):
    f1 = np.linspace(0, 1, k)
    table = pd.DataFrame({"class": NAMES[k], "f1": f1, "recall": f1, "support": np.arange(k) * 400})
    return plot_per_class_f1(table, "F1")


def distribution_figure(k):
    counts = {name: {"train": 80 * i, "val": i, "test": i} for i, name in enumerate(NAMES[k])}
    return plot_class_distribution(counts, "Images of each class")


def confusion_figure(k):
    scores, targets = draw_scores(k)
    predictions = Predictions(
        np.arange(len(targets)).astype(str), scores.numpy(), targets.numpy(), tuple(NAMES[k])
    )
    counts, names = confusions(predictions, per_class_table(predictions))
    return plot_confusion_matrix(counts, names, "Confusion matrix")


def curves_figure(k):
    scores, targets = draw_scores(k)
    curves = class_curves(scores.numpy(), targets.numpy())
    micro = pooled_curve(scores.numpy(), targets.numpy())
    precisions = dict(zip(NAMES[k], np.linspace(0.2, 0.9, k), strict=True))
    return plot_pr_curves(dict(zip(NAMES[k], curves, strict=True)), micro, precisions, "Precision")


FIGURES = {
    "history": history_figure,
    "per_class_f1": f1_figure,
    "class_distribution": distribution_figure,
    "confusion_matrix": confusion_figure,
    "pr_curves": curves_figure,
}


@pytest.mark.parametrize("k", NAMES)
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_whole_picture_of_sane_size(name, k, check_figure):
    check_figure(FIGURES[name](k), most=3000)


def shown(figure):
    """Collect the words a reader sees, a literal dollar sign as such."""
    figure.draw_without_rendering()
    texts = [text._preprocess_math(text.get_text()) for text in figure.findobj(Text)]
    assert not any(is_math for _, is_math in texts)
    return " | ".join(words for words, _ in texts)


@pytest.mark.parametrize(
    "name", ["per_class_f1", "class_distribution", "confusion_matrix", "pr_curves"]
)
def test_names_are_shown_as_they_are_or_shortened(name):
    words = shown(FIGURES[name](3))
    assert "$x_1$ costs $5" in words
    assert "_under_score" in words
    assert "A class name that…the axis" in words


def test_every_class_is_named_left_of_the_matrix_above_and_below():
    axes = confusion_figure(54).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == NAMES[54] * 2
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert all(row.startswith(f"{name}  ") for row, name in zip(rows, NAMES[54], strict=True))


def test_a_large_matrix_writes_only_the_mistakes_that_stand_out():
    counts = np.eye(20, dtype=np.int64) * 100
    counts[1, 2], counts[3, 4], counts[5, 6], counts[7, 7] = 37, 1, 6, 11
    counts[7, 8] = 2
    written = [
        text.get_text() for text in plot_confusion_matrix(counts, range(20), "M").axes[0].texts
    ]
    assert sorted(written) == ["2", "37", "6"]


def test_the_bars_are_sorted_and_absent_classes_carry_no_score():
    table = pd.DataFrame({"class": list("abc"), "f1": [0.5, 0.9, 0.0], "support": [3, 1200, 0]})
    axes = plot_per_class_f1(table, "F1").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "a", "b"]
    words = [text.get_text() for text in axes.texts]
    assert "1,200" in words
    assert "no image" in words
    assert "0.00" not in words


def test_the_worst_classes_are_named_with_their_average_precision():
    words = shown(curves_figure(54))
    assert f"0.200  {NAMES[54][0]}" in words
    assert NAMES[54][20] not in words
    assert "0.550  macro mean" in words


@pytest.mark.parametrize("epochs", [1, 2, 60])
def test_a_history_may_be_short_long_and_full_of_holes(epochs):
    history = pd.DataFrame({"epoch": range(epochs), "val/loss": [np.nan] * epochs, "lr": 0.1})
    history["train/loss"] = np.where(np.arange(epochs) % 2, np.nan, 1.0)
    figure = plot_history(history, None, "Training")
    words = shown(figure)
    assert words.count("not recorded") == 2
    assert "validation" not in words.replace("Macro scores, validation", "")


def test_the_best_epoch_is_marked():
    axes = history_figure(54).axes[0]
    assert [line.get_xdata() for line in axes.lines][-1] == [28, 28]
    assert "best epoch, 28" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_macro_mean_is_drawn_over_all_recalls():
    recall = np.array([1, 0.5, 0])
    curves = {"a": (np.array([0.5, 1, 1]), recall), "b": (np.array([0.25, 0.5, 1]), recall)}
    figure = plot_pr_curves(curves, curves["a"], {"a": 0.75, "b": 0.375}, "Precision")
    [mean] = [line for line in figure.axes[0].lines if "macro mean" in str(line.get_label())]
    recalls, precisions = mean.get_data()
    assert (recalls.min(), recalls.max()) == (0, 1)
    np.testing.assert_allclose(precisions, np.where(recalls > 0.5, 0.375, 0.75))


def test_of_many_classes_those_that_lose_most_photos_are_shown():
    table = pd.DataFrame({"class": NAMES[MANY], "f1": 0.9, "recall": 0.9, "support": 100})
    lossy = np.arange(3, MANY, 25)  # 40 of them
    table.loc[lossy, "recall"] = 0.89
    table.loc[lossy, "f1"] = np.linspace(0, 0.5, 40)
    assert choose_classes(table).tolist() == lossy.tolist()
    assert in_words(MANY) == "the 40 of 1,000 classes that lose most photos"
    rows = [label.get_text() for label in plot_per_class_f1(table, "F1").axes[0].get_yticklabels()]
    assert rows == [NAMES[MANY][place] for place in lossy]
    assert f"macro-F1, {table['f1'].mean():.3f}" in shown(plot_per_class_f1(table, "F1"))
    assert choose_classes(table[:60]).tolist() == list(range(60))
    assert in_words(60) == "each class"


def test_of_many_classes_the_largest_and_the_smallest_are_counted():
    figure = distribution_figure(MANY)
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == [*NAMES[MANY][:20], *NAMES[MANY][-20:]]
    assert "the 20 largest and the 20 smallest of 1,000 classes" in shown(figure)


def test_a_matrix_of_many_classes_takes_all_others_as_one():
    names = tuple(NAMES[MANY])
    targets = np.repeat(np.arange(MANY), 2)
    predicted = targets.copy()
    predicted[:80] = 500  # both images of the first 40 classes
    predicted[0], predicted[1999] = 1, 998
    predictions = Predictions(
        np.arange(2 * MANY).astype(str), np.eye(MANY, dtype=np.float32)[predicted], targets, names
    )
    counts, shown_names = confusions(predictions, per_class_table(predictions))
    assert shown_names == [*names[:40], "960 others"]
    expected = np.zeros((41, 41), int)
    expected[:40, 40] = 2
    expected[0, 40], expected[0, 1], expected[40, 40] = 1, 1, 1920
    np.testing.assert_array_equal(counts, expected)
    figure = plot_confusion_matrix(counts, shown_names, "M")
    assert "960 others  1,920" in shown(figure)


def test_each_curve_of_the_study_is_drawn_and_some_of_many():
    words = shown(curves_figure(54))
    assert " | other classes" in words
    assert len([line for line in curves_figure(54).axes[0].lines if len(line.get_xdata())]) == 56
    assert "40 of 995 other classes" in shown(curves_figure(MANY))
    assert len(curves_figure(MANY).axes[0].lines) < 60
