"""A report on a job's labels against true ones: a run's, as far as labels and truth tell it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fashion.files import rewriting
from fashion.jobs.answers import Answers, read_answers, read_truth
from fashion.jobs.folder import JobFolder
from fashion.metrics.calibration import calibration_error, reliability_table, thresholds_table
from fashion.metrics.intervals import wilson
from fashion.metrics.predictions import Predictions, confused_pairs, per_class_table
from fashion.reports import calibration_section, figures
from fashion.reports.calibration_figures import plot_reliability, plot_risk_coverage
from fashion.reports.choice import in_words
from fashion.reports.names import numbered
from fashion.reports.pages import records, render
from fashion.reports.parts import Parts
from fashion.reports.report import confusions, curves, write_parts

SHOWN = 20  # confused pairs on the page


def evaluate_job(
    results: str | Path, truth: str | Path, output_dir: str | Path | None = None
) -> dict[str, Any]:
    """Compare the first labels of a finished job with true ones, and write a report.

    Args:
        results: The folder of the job.
        truth: A CSV with the columns `photo` and `label`.
        output_dir: Where the report goes; None is `evaluation` in the job's folder.

    Returns:
        What `summary.json` has: `accuracy` and its interval, `macro_f1` over all classes and over
        those that have photos, `calibration_error`, `photos`, `left_out`, of a job that marks sure
        labels `sure`, and of all probabilities `macro_auprc`.

    Raises:
        OSError: Something can't be read or written.
        ValueError: See `fashion.jobs.answers`.
    """
    folder = JobFolder(Path(results).expanduser(), key="results")
    answers = read_answers(folder, read_truth(Path(truth).expanduser()))
    predictions, parts = _predictions(answers), Parts()
    tables = tabulate(answers, predictions)
    summary = summarise(answers, tables)
    with rewriting(Path(output_dir) if output_dir else folder.path / "evaluation") as write:
        drawn = drawings(answers, predictions, tables, summary)
        pictures = write_parts(tables, drawn, parts, write)
        if parts.failed:
            summary["failed_parts"] = dict(parts.failed)
        write("index.html", _page(folder.path.absolute().name, answers, tables, summary, pictures))
        write("summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return summary


def _predictions(answers: Answers) -> Predictions | None:
    """Return all probabilities where the job has kept them, the first label's being the highest."""
    if answers.probabilities is None:
        return None
    probabilities = answers.probabilities.copy()
    # Float16 levels what is nearly equal; the first label is the one that the job has told.
    level = np.flatnonzero(probabilities.argmax(axis=1) != answers.predicted)
    raised = np.nextafter(probabilities[level].max(axis=1), np.float32(2))
    probabilities[level, answers.predicted[level]] = raised
    names = np.array(answers.names, np.str_)
    return Predictions(names, probabilities, answers.targets, answers.class_names)


def tabulate(answers: Answers, predictions: Predictions | None) -> dict[str, pd.DataFrame]:
    """Return every table of the report by its name."""
    return {
        "per_class": answer_table(answers) if predictions is None else per_class_table(predictions),
        "confused_pairs": confused_pairs(answers, top=len(answers.targets)),
        "reliability": reliability_table(*_as_two_classes(answers)),
        "risk_coverage": calibration_section.precision_curve(answers.confidences, answers.hits()),
        "sure": _sure_table(answers),
    }


def answer_table(answers: Answers) -> pd.DataFrame:
    """Tabulate what the first labels are worth, class by class.

    Returns:
        One row per class, in their order: `class`, `precision`, `recall`, `f1` (0 where undefined)
        and `support`, its photos.
    """
    k, hits = len(answers.class_names), answers.hits()
    right, named, support = (
        np.bincount(classes, minlength=k)
        for classes in (answers.targets[hits], answers.predicted, answers.targets)
    )
    return pd.DataFrame(
        {
            "class": answers.class_names,
            "precision": right / np.maximum(named, 1),
            "recall": right / np.maximum(support, 1),
            "f1": 2 * right / np.maximum(named + support, 1),
            "support": support,
        }
    )


def _as_two_classes(answers: Answers) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return calibration_section.as_two_classes(answers.confidences, answers.hits())


def _sure_table(answers: Answers) -> pd.DataFrame:
    """Tabulate what the labels are worth that the job calls sure; no row: it calls none so."""
    return thresholds_table(answers.thresholds, answers.confidences, answers.hits())


def summarise(answers: Answers, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return what `summary.json` has, see `evaluate_job`."""
    table, number = tables["per_class"], len(answers.targets)
    accuracy = float(answers.hits().mean())
    low, high = wilson(accuracy, number)
    summary = {
        **{"accuracy": accuracy, "accuracy_low": low, "accuracy_high": high},
        "macro_f1": float(table["f1"].mean()),
        "macro_f1_over_present_classes": float(table.loc[table["support"] > 0, "f1"].mean()),
        "calibration_error": calibration_error(*_as_two_classes(answers)),
        "photos": number,
        "left_out": answers.left_out,
    }
    if "average_precision" in table:
        summary["macro_auprc"] = float(table["average_precision"].mean())
    if len(tables["sure"]):
        summary["sure"] = records(tables["sure"].drop(columns="unknown_refused"))[0]
    return summary


def drawings(
    answers: Answers,
    predictions: Predictions | None,
    tables: Mapping[str, pd.DataFrame],
    summary: Mapping[str, Any],
) -> dict[str, Callable[[], Figure]]:
    """Return how to draw every figure of the report, by its name.

    Args:
        answers: The first labels.
        predictions: All probabilities, where they are known.
        tables: As `tabulate` returned them.
        summary: As `summarise` returned it.
    """
    table = tables["per_class"]
    which, panel = in_words(len(table)), (tables["reliability"], summary["calibration_error"])
    drawings: dict[str, Callable[[], Figure]] = {
        "per_class_f1": lambda: figures.plot_per_class_f1(table, f"F1 of {which}"),
        "confusion_matrix": lambda: figures.plot_confusion_matrix(
            *confusions(answers, table), "Confusion matrix"
        ),
        "reliability": lambda: plot_reliability({"First labels": panel}, "Confidence and accuracy"),
        "risk_coverage": lambda: plot_risk_coverage(
            tables["risk_coverage"], tables["sure"], "Precision of what is answered"
        ),
    }
    if predictions is not None:
        averages = dict(zip(table["class"], table["average_precision"], strict=True))
        drawings["pr_curves"] = lambda: figures.plot_pr_curves(
            *curves(predictions), averages, "Precision over recall"
        )
    return drawings


def _page(
    job: str,
    answers: Answers,
    tables: Mapping[str, pd.DataFrame],
    summary: Mapping[str, Any],
    pictures: Mapping[str, str],
) -> str:
    table = tables["per_class"]
    return render(
        "job.html.j2",
        job=job,
        scores={"failed_parts": {}, **summary},
        table=records(table),
        pairs=tables["confused_pairs"].head(SHOWN).to_dict("records"),
        sure=records(tables["sure"]),
        absent=int((table["support"] == 0).sum()),
        which=in_words(len(table)),
        pictures=pictures,
        numbered=numbered(answers.class_names),
    )
