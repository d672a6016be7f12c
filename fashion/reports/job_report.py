"""A report on a job's labels against true ones: tables, and figures where it kept probabilities."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fashion.files import rewriting
from fashion.jobs.answers import Answers, read_answers, read_truth
from fashion.jobs.folder import JobFolder
from fashion.metrics import metrics
from fashion.metrics.calibration import calibration_error, reliability_table
from fashion.metrics.predictions import Predictions, per_class_table, rank_confusions
from fashion.reports import figures
from fashion.reports.pages import png
from fashion.reports.report import confusions
from fashion.tables import csv_text


def evaluate_job(
    results: str | Path, truth: str | Path, output_dir: str | Path | None = None
) -> dict[str, Any]:
    """Compare the first labels of a finished job with true ones, and write a report.

    Args:
        results: The folder of the job.
        truth: A CSV with the columns `photo` and `label`.
        output_dir: Where the report goes; None is `evaluation` in the job's folder.

    Returns:
        What `summary.json` has: `accuracy`, `macro_f1` over all classes and over those that have
        photos, `calibration_error`, `photos`, `left_out` and, of all probabilities,
        `macro_auprc`.

    Raises:
        OSError: Something can't be read or written.
        ValueError: See `fashion.jobs.answers`.
    """
    folder = JobFolder(Path(results).expanduser(), key="results")
    answers = read_answers(folder, read_truth(Path(truth).expanduser()))
    table = answer_table(answers)
    two = _as_two_classes(answers)
    tables = {
        "confused_pairs": rank_confusions(
            answers.targets, answers.predicted, answers.class_names, top=len(answers.targets)
        ),
        "reliability": reliability_table(*two),
    }
    summary = {
        "accuracy": float((answers.predicted == answers.targets).mean()),
        "macro_f1": float(table["f1"].mean()),
        "macro_f1_over_present_classes": float(table.loc[table["support"] > 0, "f1"].mean()),
        "calibration_error": calibration_error(*two),
        "photos": len(answers.targets),
        "left_out": answers.left_out,
    }
    drawings: Mapping[str, Callable[[], Any]] = {}
    if answers.probabilities is not None:
        table, drawings = _of_all_probabilities(answers, answers.probabilities)
        summary["macro_auprc"] = float(table["average_precision"].mean())
    with rewriting(Path(output_dir) if output_dir else folder.path / "evaluation") as write:
        for name, each in {"per_class": table, **tables}.items():
            write(f"{name}.csv", csv_text(each, float_format="%.6g"))
        for name, draw in drawings.items():
            write(f"figures/{name}.png", png(draw()))
        write("summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return summary


def answer_table(answers: Answers) -> pd.DataFrame:
    """Tabulate what the first labels are worth, class by class.

    Returns:
        One row per class, in their order: `class`, `precision`, `recall`, `f1` (0 where undefined)
        and `support`, its photos.
    """
    k, hits = len(answers.class_names), answers.predicted == answers.targets
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
    """Return probabilities and targets, right and wrong, whose errors are those of all classes."""
    confidences = answers.confidences
    wrong = (answers.predicted != answers.targets).astype(np.int64)
    return np.stack([confidences, np.zeros_like(confidences)], axis=1), wrong


def _of_all_probabilities(
    answers: Answers, probabilities: NDArray[np.float32]
) -> tuple[pd.DataFrame, Mapping[str, Callable[[], Any]]]:
    """Return the table of the classes with their average precision, and how to draw figures."""
    ids, names = np.array(answers.names, np.str_), answers.class_names
    # Float16 levels what is nearly equal; the first label is the one that the job has told.
    level = np.flatnonzero(probabilities.argmax(axis=1) != answers.predicted)
    raised = np.nextafter(probabilities[level].max(axis=1), np.float32(2))
    probabilities[level, answers.predicted[level]] = raised
    predictions = Predictions(ids, probabilities, answers.targets, names)
    table = per_class_table(predictions)
    curves = metrics.class_curves(probabilities, answers.targets)
    named = {name: curve for name, curve in zip(names, curves, strict=True) if curve}
    averages = dict(zip(table["class"], table["average_precision"], strict=True))
    return table, {
        "per_class_f1": lambda: figures.plot_per_class_f1(table, "F1 of the classes"),
        "confusion_matrix": lambda: figures.plot_confusion_matrix(
            *confusions(predictions, table), "Confusion matrix"
        ),
        "pr_curves": lambda: figures.plot_pr_curves(
            named,
            metrics.pooled_curve(probabilities, answers.targets),
            averages,
            "Precision over recall",
        ),
    }
