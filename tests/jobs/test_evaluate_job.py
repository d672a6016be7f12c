"""`fashion evaluate results=`: a job's labels against true ones."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, recall_score
from statsmodels.stats.proportion import proportion_confint

from fashion.commands.main import run

OF_FIRST_LABELS = {"per_class_f1", "confusion_matrix", "reliability", "risk_coverage"}
CLASSES = ["Bright", "Dark, or =so", "Grey"]


@pytest.fixture
def write_truth(tmp_path):
    """Returns write(rows), the path of a CSV of true labels."""

    def write(rows, columns=("photo", "label")):
        path = tmp_path / "truth.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *rows])
        return path

    return write


def true_labels(rows):
    """The first labels of a job, every fourth of which is another one."""
    labels = []
    for place, row in enumerate(rows):
        k = CLASSES.index(row["label_1"]) if row["label_1"] else 0
        labels.append(CLASSES[(k + (place % 4 == 0)) % 3])
    return labels


@pytest.fixture
def evaluated(label, cells, write_truth, photos, capsys):
    """Returns evaluated(*words): the job, its rows, true labels, and the figures that are said."""

    def evaluated(*words):
        job = label(f"input={photos}", *words)
        rows = cells(job)
        labels = true_labels(rows)
        told = [(row["photo"], label) for row, label in zip(rows, labels, strict=True)]
        truth = write_truth([*told[:38], (told[38][0], "Hats"), ("elsewhere.png", "Grey")])
        capsys.readouterr()
        run("evaluate", [f"results={job}", f"truth={truth}"])
        kept = [k for k in range(38) if rows[k]["label_1"]]
        return job, [rows[k] for k in kept], [labels[k] for k in kept], capsys.readouterr().out

    return evaluated


def test_the_figures_are_scikit_learn_s(evaluated):
    job, rows, labels, said = evaluated()
    predicted = [row["label_1"] for row in rows]
    summary = json.loads((job / "evaluation" / "summary.json").read_text())
    hits = np.array(predicted) == labels
    assert summary["accuracy"] == hits.mean()
    assert summary["macro_f1"] == pytest.approx(
        f1_score(labels, predicted, labels=CLASSES, average="macro")
    )
    assert summary["photos"] == 36
    assert summary["left_out"] == {
        **{"without_truth": 1, "unreadable": 2, "of_unknown_label": 1, "not_in_the_job": 1},
    }
    assert f"36 photos: accuracy {hits.mean():.4f}, macro_f1" in said
    table = pd.read_csv(job / "evaluation" / "per_class.csv")
    assert table["class"].tolist() == CLASSES
    recalls = recall_score(labels, predicted, labels=CLASSES, average=None)
    assert table["recall"].tolist() == pytest.approx(recalls, abs=1e-5)
    assert table["support"].tolist() == [labels.count(name) for name in CLASSES]
    pairs = pd.read_csv(job / "evaluation" / "confused_pairs.csv")
    mistakes = [pair for pair in zip(labels, predicted, strict=True) if pair[0] != pair[1]]
    assert pairs["count"].sum() == len(mistakes)
    first = pairs.iloc[0]
    assert mistakes.count((first["true"], first["predicted"])) == first["count"]


def test_the_first_label_s_calibration_is_that_of_its_confidence(evaluated):
    job, rows, labels, _ = evaluated()
    table = pd.read_csv(job / "evaluation" / "reliability.csv")
    confidences = np.array([float(row["probability_1"]) for row in rows])
    hits = np.array([row["label_1"] for row in rows]) == labels
    error = 0.0
    for low, high, count in zip(table["low"], table["high"], table["count"], strict=True):
        inside = (confidences >= low - 1e-6) & (confidences < high - 1e-6)
        assert inside.sum() == count
        if count:
            error += abs(confidences[inside].mean() - hits[inside].mean()) * count / len(hits)
    summary = json.loads((job / "evaluation" / "summary.json").read_text())
    assert summary["calibration_error"] == pytest.approx(error, abs=1e-4)


def test_of_all_probabilities_there_are_average_precisions_and_figures(evaluated, tmp_path):
    import pyarrow.parquet as pq

    job, rows, labels, said = evaluated("probabilities=true")
    table = pd.read_csv(job / "evaluation" / "per_class.csv")
    kept = {
        row["photo"]: row["probabilities"]
        for path in (job / "results").iterdir()
        for row in pq.read_table(path).to_pylist()
    }
    scores = np.array([kept[row["photo"]] for row in rows])
    wanted = [
        average_precision_score(np.array(labels) == name, scores[:, k])
        for k, name in enumerate(CLASSES)
    ]
    assert table["average_precision"].tolist() == pytest.approx(wanted, abs=1e-3)
    assert "macro_auprc" in said
    figures = {path.stem for path in (job / "evaluation" / "figures").iterdir()}
    assert figures == {*OF_FIRST_LABELS, "pr_curves"}
    page = (job / "evaluation" / "index.html").read_text()
    assert page.count("<figure") == len(figures)
    assert "Average precision" in page
    assert "Macro-AUPRC" in page


def test_the_page_says_what_the_tables_do(evaluated):
    job, rows, labels, _ = evaluated("precision=0.5")
    summary = json.loads((job / "evaluation" / "summary.json").read_text())
    page = (job / "evaluation" / "index.html").read_text()
    figures = {path.stem for path in (job / "evaluation" / "figures").iterdir()}
    assert figures == OF_FIRST_LABELS
    assert page.count("<figure") == len(figures)
    assert "Average precision" not in page
    low, high = proportion_confint(
        sum(row["label_1"] == label for row, label in zip(rows, labels, strict=True)),
        *(len(rows), 0.05, "wilson"),
    )
    assert (summary["accuracy_low"], summary["accuracy_high"]) == pytest.approx((low, high))
    assert f"{100 * low:.2f}\N{NO-BREAK SPACE}% to {100 * high:.2f}\N{NO-BREAK SPACE}%" in page
    sure = [pair for pair in zip(rows, labels, strict=True) if pair[0]["sure"] == "yes"]
    right = [row["label_1"] == label for row, label in sure]
    assert summary["sure"]["coverage"] == len(sure) / len(rows)
    assert summary["sure"]["precision"] == (np.mean(right) if sure else None)
    assert "Dark, or =so" in page
    assert '<td class="number">36</td>' in page


def test_what_is_no_truth_is_told(label, photos, write_truth, tmp_path):
    job = label(f"input={photos}")
    for rows, columns, said in (
        ([], ("name", "label"), "has the columns name, label and needs photo and label"),
        ([("a", "Grey"), ("a", "Bright")], ("photo", "label"), "calls 'a' both 'Grey' and"),
        ([("a", "Grey")], ("photo", "label"), "have no photo in common"),
    ):
        truth = write_truth(rows, columns)
        with pytest.raises(SystemExit, match=said):
            run("evaluate", [f"results={job}", f"truth={truth}"])


def test_what_is_no_finished_job_is_told(label, photos, write_truth, tmp_path):
    truth = write_truth([("a", "Grey")])
    with pytest.raises(SystemExit, match="is no job; pass a folder"):
        run("evaluate", [f"results={tmp_path}", f"truth={truth}"])
    job = label(f"input={photos}")
    (job / "summary.json").unlink()
    with pytest.raises(SystemExit, match="isn't finished"):
        run("evaluate", [f"results={job}", f"truth={truth}"])
    with pytest.raises(SystemExit, match="truth is missing"):
        run("evaluate", [f"results={job}"])
    with pytest.raises(SystemExit, match="data is for ckpt_path"):
        run("evaluate", [f"results={job}", f"truth={truth}", "data.fit=pad"])
