import errno
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from fashion.commands.main import run
from fashion.files import write_file
from fashion.metrics.intervals import figure_intervals
from fashion.metrics.predictions import (
    Predictions,
    mean_predictions,
    score_predictions,
)
from fashion.metrics.resampling import bootstrap
from fashion.reports import compare, comparison
from fashion.reports.compare import write_comparison
from fashion.reports.comparison import NUM_RESAMPLES, describe_pairs, epochs_to, read_runs
from fashion.tables import csv_text

NAMES = ("Bags", "Caps", "Shoes")
NASTY = "=cmd()<script>alert(1)</script>"


def predict(skill, seed, ids=None):
    """Make predictions of 240 images of three classes, about so many of them right."""
    rng = np.random.default_rng(7)
    targets = rng.integers(0, 3, 240)
    difficulty = rng.random(240)  # the same for each model, as with real photos
    rng = np.random.default_rng(seed)
    right = difficulty + rng.normal(0, 0.15, 240) < skill
    named = np.where(right, targets, (targets + rng.integers(1, 3, 240)) % 3)
    logits = rng.normal(0, 1, (240, 3)) + 3 * np.eye(3)[named]
    logits[np.arange(240), named] = logits.max(axis=1) + 0.1
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids = np.array([f"{i:03}" for i in range(240)]) if ids is None else ids
    return Predictions(ids, probabilities.astype(np.float32), targets, NAMES)


def write_run(folder, predictions, seed=0, backbone="resnet50", **changes):
    (folder / "report").mkdir(parents=True)
    (folder / ".hydra").mkdir()
    (folder / "checkpoints").mkdir()
    predictions.save(folder / "predictions.npz")
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"0" * 1_500_000)
    config = {"seed": seed, "data": {"seed": seed}, "model": {"backbone": backbone, "seed": seed}}
    summary = {
        "test": {**score_predictions(predictions), "support": 240},
        "best_epoch": 2,
        "epochs": 4,
        "trainable_parameters": {"backbone": 10, "head": 2},
        "total_parameters": 20,
        "seconds": {"total": 50.0, "per_epoch": 10.0},
        "drawn_sample": False,
        "config": config,
        **changes,
    }
    (folder / "report" / "summary.json").write_text(json.dumps(summary))
    (folder / "report" / "index.html").write_text("a report")
    scores = pd.DataFrame({"class": NAMES, "f1": [0.5, 0.6, 0.7]})
    scores.to_csv(folder / "report" / "per_class.csv", index=False)
    history = pd.DataFrame({"epoch": range(4), "val/accuracy": [0.5, 0.7, 0.8, 0.79]})
    history.assign(**{"val/macro_auprc": [0.5, 0.796, 0.8, 0.79]}).to_csv(
        folder / "history.csv", index=False
    )


@pytest.fixture(autouse=True)
def _speed(monkeypatch):
    monkeypatch.setattr(comparison, "inference_speed", lambda folder: 100.0)


@pytest.fixture(scope="module")
def sweep_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "all six"
    runs = {
        "resnet50,seed=0": (0.6, 0, 0, "resnet50"),
        "resnet50,seed=1": (0.6, 1, 1, "resnet50"),
        "xception,seed=0": (0.9, 2, 0, "xception"),
    }
    for name, (skill, drawn, seed, backbone) in runs.items():
        write_run(folder / name, predict(skill, drawn), seed, backbone)
    for name in ("densenet201", "nasnetlarge"):
        (folder / name / ".hydra").mkdir(parents=True)
    (folder / "densenet201" / "error.txt").write_text(f"ValueError: no\nweights | {NASTY}\n")
    (folder / "not a run").mkdir()
    return folder


@pytest.fixture
def sweep(sweep_once, tmp_path):
    folder = tmp_path / "sweep"
    shutil.copytree(sweep_once, folder)
    return folder


def table_of(folder):
    return comparison.compare(read_runs([folder])).table.set_index("run")


def written_table(folder):
    return write_comparison([folder], folder).set_index("run")


def test_each_run_is_a_row_whatever_became_of_it(sweep):
    table = table_of(sweep)
    runs = table[table["kind"] == "run"]
    assert runs["status"].to_dict() == {
        "resnet50,seed=0": "finished",
        "resnet50,seed=1": "finished",
        "xception,seed=0": "finished",
        "densenet201": "failed",
        "nasnetlarge": "missing",
    }
    scores = table["macro_auprc"].dropna()
    assert scores.tolist() == sorted(scores, reverse=True)
    assert table.loc["densenet201", "error"] == f"ValueError: no weights | {NASTY}"


def test_each_figure_has_the_interval_of_its_bootstrap(sweep):
    table = table_of(sweep)
    predictions = Predictions.load(sweep / "xception,seed=0" / "predictions.npz")
    scores = score_predictions(predictions)
    replicates = bootstrap(predictions, num_resamples=NUM_RESAMPLES)
    bounds = figure_intervals(scores, replicates, len(predictions.targets))
    for name, value in {**scores, **bounds}.items():
        assert table.loc["xception,seed=0", name] == pytest.approx(value, abs=5e-5)


def test_seeds_and_ensemble_are_rows_of_their_own(sweep):
    table = table_of(sweep)
    runs = ["resnet50,seed=0", "resnet50,seed=1"]
    mean = table.loc["resnet50, mean of 2 seeds"]
    assert mean["accuracy"] == pytest.approx(table.loc[runs, "accuracy"].mean(), abs=1e-4)
    assert mean["accuracy_low"] < mean["accuracy"] < mean["accuracy_high"]
    assert "xception, mean of 1 seeds" not in table.index
    folders = [*runs, "xception,seed=0"]
    parts = [Predictions.load(sweep / name / "predictions.npz") for name in folders]
    expected = score_predictions(mean_predictions(parts))
    row = table.loc["ensemble of 3"]
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, abs=5e-5)
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
    assert row["images_per_second"] == pytest.approx(33.3, abs=0.1)


def test_what_a_run_costs_stands_beside(sweep):
    row = table_of(sweep).loc["xception,seed=0"]
    assert (row["trainable_parameters"], row["total_parameters"]) == (12, 20)
    assert (row["best_epoch"], row["epochs"], row["epochs_to_99"]) == (2, 4, 2)
    assert (row["seconds_per_epoch"], row["images_per_second"]) == (10.0, 100.0)
    assert row["checkpoint_mb"] == 1.5


def test_the_study_stands_beside_runs_with_its_classes_and_those_to_come(sweep):
    studied = {"study": {"test_accuracy": 0.9291, "macro_auprc": 0.9437}}
    for name in ("xception,seed=0", "resnet50,seed=0"):
        path = sweep / name / "report" / "summary.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | studied))
    table = written_table(sweep)
    assert table.loc["xception,seed=0", "study_accuracy"] == 0.9291
    assert pd.isna(table.loc["resnet50,seed=1", "study_accuracy"])
    assert table.loc["resnet50, mean of 2 seeds", "study_accuracy"] == 0.9291
    assert table.loc["resnet50, mean of 2 seeds", "study_macro_auprc"] == 0.9437
    assert table.loc["nasnetlarge", "study_accuracy"] == 0.9319
    assert '<th class="number">Study' in (sweep / "index.html").read_text()
    assert "study_accuracy" in pd.read_csv(sweep / "comparison.csv")


def test_the_study_keeps_away_from_other_catalogues(sweep):
    assert not [column for column in written_table(sweep) if "study" in column]
    assert '<th class="number">Study' not in (sweep / "index.html").read_text()
    assert "study" not in (sweep / "comparison.csv").read_text()


def listing(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_nothing_is_written_into_runs_that_are_only_read(sweep, tmp_path):
    before = listing(sweep)
    write_comparison([sweep], tmp_path / "mine")
    assert listing(sweep) == before
    assert (tmp_path / "mine" / "index.html").exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_only_be_read_ends_in_a_sentence(number, sweep, monkeypatch):
    def refuse(dir):
        raise OSError(number, os.strerror(number))

    before = listing(sweep)
    monkeypatch.setattr("fashion.reports.compare.TemporaryFile", refuse)
    with pytest.raises(SystemExit, match=r"can't be written to '.*sweep' .* Pass output_dir="):
        run("compare", [str(sweep)])
    assert listing(sweep) == before


def test_files_of_the_users_stay_beside_a_comparison(sweep):
    write_comparison([sweep], sweep)
    mine = [sweep / "budget.csv", sweep / "figures" / "holiday.png"]
    for path in mine:
        path.write_text("mine")
    for folder in sweep.glob("*seed*"):
        shutil.rmtree(folder)
    write_comparison([sweep], sweep)
    assert sorted((sweep / "figures").iterdir()) == [sweep / "figures" / "holiday.png"]
    assert all(path.read_text() == "mine" for path in mine)


def test_the_study_stands_beside_the_mean_of_seeds(sweep):
    studied = {"study": {"test_accuracy": 0.9128, "macro_auprc": 0.9313}}
    for seed in (0, 1):
        path = sweep / f"resnet50,seed={seed}" / "report" / "summary.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | studied))
    row = table_of(sweep).loc["resnet50, mean of 2 seeds"]
    assert (row["study_accuracy"], row["study_macro_auprc"]) == (0.9128, 0.9313)


def test_the_page_says_on_how_many_photos_was_tested(sweep):
    write_comparison([sweep], sweep)
    assert "5 runs, 240 test photos, written" in (sweep / "index.html").read_text()


def test_the_tables_hold_every_row_and_whole_numbers(sweep):
    table = written_table(sweep)
    written = pd.read_csv(sweep / "comparison.csv")
    assert len(written) == len(table) == 7
    text = (sweep / "comparison.csv").read_text()
    assert ",2,4,2,12,20,10.0,100.0,1.5," in text
    page = (sweep / "index.html").read_text()
    assert sum("<br><small>" in line for line in page.splitlines() if " to " in line) == 5


def test_a_real_difference_is_told_from_chance(sweep):
    write_comparison([sweep], sweep)
    pairs = pd.read_csv(sweep / "pairs.csv")
    assert len(pairs) == 6
    named = pairs.set_index(["first", "second"])
    assert not named.loc[("resnet50,seed=0", "resnet50,seed=1"), "is_real"]
    page = (sweep / "index.html").read_text()
    assert "xception,seed=0 is better than resnet50 by" in page


def pair(first, second, difference, p, is_real):
    return {
        **{"first": first, "second": second, "difference": difference},
        **{"p_holm": p, "is_real": is_real},
    }


def test_groups_differ_where_all_their_runs_do_the_same_way_round():
    groups = {"a0": "a", "a1": "a", "b": "b", "c": "c"}
    pairs = [
        pair("b", "a0", 0.04, 0.0001, True),
        pair("a1", "b", -0.02, 0.02, True),
        pair("a0", "a1", 0.02, 0.01, True),
        pair("c", "a0", 0.01, 0.04, True),
        pair("c", "a1", 0.005, 0.6, False),
        pair("b", "c", 0.025, 0.0002, True),
    ]
    assert describe_pairs(pd.DataFrame(pairs), groups) == [
        "b is better than a by 2.00 to 4.00 points (p ≤ 0.020 for each pair of runs).",
        "b is better than c by 2.50 points (p < 0.001).",
        "Not told apart on these photos: a and c.",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda one: Predictions(
                np.array([f"{i:03}" for i in range(100, 340)]),
                *(one.probabilities, one.targets, one.class_names),
            ),
            r"resnet50,seed=0 \(240 test photos\) and xception,seed=0 \(240\) can't be compared: "
            r"they share 140 test photos\. Pass runs of one catalogue",
        ),
        (
            lambda one: Predictions(
                one.image_ids, one.probabilities, (one.targets + 1) % 3, one.class_names
            ),
            r"they label some photos differently",
        ),
        (
            lambda one: Predictions(
                one.image_ids, one.probabilities, one.targets, ("Bags", "Caps", "Ties")
            ),
            r"they tell 3 and 3 classes apart that differ",
        ),
    ],
)
def test_runs_on_other_photos_are_refused_in_a_line_and_listed_by_a_sweep(
    change, message, sweep, caplog
):
    path = sweep / "xception,seed=0" / "predictions.npz"
    change(Predictions.load(path)).save(path)
    with pytest.raises(SystemExit, match=message) as caught:
        run("compare", [str(sweep)])
    assert "\n" not in str(caught.value)
    assert not (sweep / "comparison.csv").exists()
    table = written_table(sweep)
    assert set(table["kind"]) == {"run"}
    assert table["accuracy_low"].notna().sum() == 3
    assert "listed, not compared" in (sweep / "index.html").read_text()
    assert "can't be compared" in caplog.text


def test_the_order_of_the_photos_does_not_matter(sweep):
    before = table_of(sweep)
    path = sweep / "xception,seed=0" / "predictions.npz"
    one = Predictions.load(path)
    order = np.random.default_rng(0).permutation(240)
    Predictions(
        one.image_ids[order], one.probabilities[order], one.targets[order], one.class_names
    ).save(path)
    pd.testing.assert_frame_equal(table_of(sweep), before)


def test_folders_of_runs_of_sweeps_and_of_all_of_them_are_found(sweep):
    def names(*folders):
        return [run.name for run in read_runs(folders)]

    assert names(sweep / "resnet50,seed=0") == ["resnet50,seed=0"]
    assert names(sweep.parent)[0] == "densenet201"
    assert len(names(sweep)) == len(names(sweep, sweep / "resnet50,seed=0")) == 5
    other = sweep.parent / "other"
    shutil.copytree(sweep / "resnet50,seed=0", other / "resnet50,seed=0")
    assert names(other, sweep)[:2] == ["other/resnet50,seed=0", "sweep/densenet201"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], r"'nowhere' does not exist; pass folders of runs or sweeps"),
        (["."], r"There is no run in \."),
        (["output_dir=x"], r"nothing to work on; pass folders of runs or sweeps"),
    ],
)
def test_nothing_to_compare_is_an_error(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        run("compare", words)


def test_a_damaged_summary_is_named(sweep):
    path = sweep / "xception,seed=0" / "report" / "summary.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"summary\.json is no run's summary"):
        read_runs([sweep])


def test_a_table_of_failures_alone_can_be_written(sweep):
    for folder in sweep.glob("*seed*"):
        shutil.rmtree(folder)
    table = written_table(sweep)
    assert table["accuracy"].isna().all()
    assert "<img" not in (sweep / "index.html").read_text()


def test_the_epochs_until_nearly_the_best_are_counted():
    history = pd.DataFrame({"val/macro_auprc": [0.5, 0.99, 0.7, 1.0]})
    assert epochs_to(history, 0.99) == 2
    assert epochs_to(history, 1.0) == 4
    assert epochs_to(pd.DataFrame(), 0.99) is None


def test_names_are_escaped_in_the_page_and_marked_in_the_table(sweep):
    write_comparison([sweep], sweep)
    page = (sweep / "index.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    (sweep / "densenet201" / "error.txt").write_text(NASTY)
    write_comparison([sweep], sweep)
    assert f"'{NASTY}" in (sweep / "comparison.csv").read_text()


def test_classes_have_their_own_names_in_figures(sweep, monkeypatch):
    odd = ["NA", "-Bags", "Shoes"]
    for folder in sweep.glob("*seed*"):
        scores = pd.DataFrame({"class": odd, "f1": [0.5, 0.6, 0.7]})
        write_file(folder / "report" / "per_class.csv", csv_text(scores))
    drawn = []
    plot = compare.figures.plot_class_f1
    monkeypatch.setattr(
        compare.figures, "plot_class_f1", lambda *given: drawn.append(plot(*given)) or drawn[-1]
    )
    write_comparison([sweep], sweep)
    rows = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert rows == odd


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_opens_in_a_browser(sweep, browse, width):
    write_comparison([sweep], sweep)
    assert len(list((sweep / "figures").glob("*.png"))) == 4
    found = browse(sweep / "index.html", width)
    assert found.pop("pictures") == 4
    assert found == {"broken": 0, "too_wide": 0, "stacked": 0, "console": []}
    page = (sweep / "index.html").read_text()
    assert 'href="resnet50%2Cseed%3D0/report/index.html"' in page
