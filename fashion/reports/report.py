"""Predictions on a split -> tables, figures and pages, without the model or the data."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fashion.catalogue.attributes import describe_attribute
from fashion.files import rewriting
from fashion.metrics import metrics
from fashion.metrics.predictions import (
    FirstLabels,
    Predictions,
    confused_pairs,
    confusion_counts,
    per_class_table,
)
from fashion.metrics.study import beside_study
from fashion.reports import attributes_section, calibration_section, figures, mistakes_section
from fashion.reports.choice import ALL, choose_classes, in_words
from fashion.reports.error_analysis import ErrorAnalysis
from fashion.reports.names import numbered
from fashion.reports.pages import png, records, render, write_pictures
from fashion.reports.parts import Parts
from fashion.reports.summary import is_comparable, summarise
from fashion.tables import csv_text


def write_report(
    predictions: Predictions,
    run: Mapping[str, Any],
    history: pd.DataFrame,
    report_dir: str | os.PathLike[str],
    analysis: ErrorAnalysis | None = None,
    parts: Parts | None = None,
) -> dict[str, Any]:
    """Write `index.html`, `mistakes.html`, tables, `figures/` and, last, `summary.json`.

    Args:
        predictions: Of the split that `run["split"]` names.
        run: What the caller knows of the run; it becomes the base of the summary.
        history: One row per epoch: `epoch`, `lr`, `train/loss`, `val/macro_f1` and so on; empty
            when a checkpoint is evaluated on its own.
        report_dir: Made when missing; an older report in it is replaced.
        analysis: What is known beside the predictions.
        parts: Draws the figures; what it has failed to make by then is named, too.

    Returns:
        The summary as written: `run` with the scores under the split's name, the study's under
        `study` where they may be compared (the study's model and classes, the test split, no drawn
        sample), and `failed_parts` where there are any.
    """
    analysis, parts = analysis or ErrorAnalysis(), parts or Parts()
    summary = summarise(predictions, run, analysis)
    tables = tabulate(predictions, analysis)
    with rewriting(Path(report_dir)) as write:
        drawn = drawings(predictions, summary, tables, history, analysis)
        pictures = write_parts(tables, drawn, parts, write)
        if parts.failed:
            summary["failed_parts"] = dict(parts.failed)
        write("index.html", render_report(predictions, summary, tables, history, pictures))
        write("mistakes.html", render_mistakes(summary, tables, analysis, pictures))
        # A run that has one is finished.
        text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
        write("summary.json", f"{text}\n")
    return summary


def write_parts(
    tables: Mapping[str, pd.DataFrame],
    drawings: Mapping[str, Callable[[], Figure]],
    parts: Parts,
    write: Callable[[str, str | bytes], None],
) -> dict[str, str]:
    """Write the tables, then the figures that can be drawn.

    Returns:
        As `fashion.reports.pages.write_pictures` does.
    """
    for name, table in tables.items():
        # Nine digits tell float32 thresholds apart.
        digits = "%.9g" if "threshold" in table else "%.6g"
        write(f"{name}.csv", csv_text(table, float_format=digits))
    pictures: dict[str, str] = {}
    for name, draw in drawings.items():
        figure = parts.make(f"figure {name}", partial(_png, draw), b"")
        if figure:
            pictures |= write_pictures({name: figure}, write)
    return pictures


def _png(draw: Callable[[], Figure]) -> bytes:
    return png(draw())


def tabulate(predictions: Predictions, analysis: ErrorAnalysis) -> dict[str, pd.DataFrame]:
    """Return every table of a report by its name."""
    return {
        "per_class": per_class_table(predictions),
        "confused_pairs": confused_pairs(predictions),
        **calibration_section.tables(predictions, analysis),
        **mistakes_section.tables(predictions, analysis),
        **attributes_section.tables(predictions),
        **(analysis.names.tables if analysis.names else {}),
    }


def _drawn(run: Mapping[str, Any]) -> str:
    return ", drawn sample" if run["drawn_sample"] else ""


def _where(run: Mapping[str, Any]) -> str:
    photos = "all photos" if run["split"] == "all" else f"{run['split']} split"
    return f"{run['model']}, {photos}{_drawn(run)}"


def drawings(
    predictions: Predictions,
    summary: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    history: pd.DataFrame,
    analysis: ErrorAnalysis,
) -> dict[str, Callable[[], Figure]]:
    """Return how to draw every figure of a report, by its name.

    Args:
        predictions: Of the split.
        summary: As `summarise` returned it.
        tables: As `tabulate` returned them.
        history: As in `write_report`.
        analysis: What is known beside the predictions.
    """
    where, scores = _where(summary), summary[summary["split"]]
    return {
        **_drawings(predictions, summary, tables["per_class"], history),
        **calibration_section.drawings(predictions, analysis, tables, scores, where),
        **mistakes_section.drawings(tables, where),
    }


def _drawings(
    predictions: Predictions,
    run: Mapping[str, Any],
    table: pd.DataFrame,
    history: pd.DataFrame,
) -> dict[str, Callable[[], Figure]]:
    where, which = _where(run), in_words(len(table))
    drawings = {
        "per_class_f1": lambda: figures.plot_per_class_f1(table, f"F1 of {which}: {where}"),
        "confusion_matrix": lambda: figures.plot_confusion_matrix(
            *confusions(predictions, table),
            "Confusion matrix" + (f" of {which}" if len(table) > ALL else "") + f": {where}",
        ),
        "pr_curves": lambda: figures.plot_pr_curves(
            *curves(predictions),
            dict(zip(table["class"], table["average_precision"], strict=True)),
            f"Precision over recall: {where}",
        ),
        "class_distribution": lambda: figures.plot_class_distribution(
            run["class_counts"], f"Images of each class{_drawn(run)}"
        ),
    }
    if len(history):
        title = f"Training and validation: {run['model']}{_drawn(run)}"
        drawings["history"] = lambda: figures.plot_history(history, run["best_epoch"], title)
    return drawings


def confusions(answers: FirstLabels, table: pd.DataFrame) -> tuple[NDArray[np.int64], list[str]]:
    """Count the confusions of the classes that figures show, all others being taken as one."""
    chosen, names = choose_classes(table), np.array(answers.class_names)
    shown = names[chosen].tolist()
    if len(chosen) < len(names):
        shown.append(f"{len(names) - len(chosen):,} others")
    return confusion_counts(answers, chosen), shown


def curves(predictions: Predictions) -> tuple[dict[str, figures.Curve], figures.Curve]:
    """Return precision over recall of each class with images, and of all decisions pooled."""
    scores, targets = predictions.probabilities, predictions.targets
    traced = zip(predictions.class_names, metrics.class_curves(scores, targets), strict=True)
    return {name: curve for name, curve in traced if curve}, metrics.pooled_curve(scores, targets)


def render_report(
    predictions: Predictions,
    summary: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    history: pd.DataFrame,
    pictures: Mapping[str, str],
) -> str:
    """Return `index.html`.

    Args:
        predictions: Of the split.
        summary: As `summarise` returned it.
        tables: As `tabulate` returned them.
        history: As in `write_report`.
        pictures: In base64 by name; one that is missing is left out.
    """
    scores, table = summary[summary["split"]], tables["per_class"]
    every_pair = confused_pairs(predictions, top=len(predictions.targets))
    comparable = is_comparable(predictions, summary)
    return render(
        "report.html.j2",
        run={"failed_parts": {}, **summary},
        scores=scores,
        table=records(table),
        refusal=records(tables["refusal"]) if "refusal" in tables else [],
        pairs=tables["confused_pairs"].to_dict("records"),
        beside=beside_study(summary, table, every_pair) if comparable else None,
        has_history=len(history) > 0,
        which=in_words(len(table)),
        names=scores.get("names"),
        tables={name: records(part) for name, part in tables.items() if name.startswith("names")},
        pictures=pictures,
        numbered=numbered(predictions.class_names),
        config=_flatten(summary["config"]),
        attributes=attributes_section.shown(scores, tables),
        described=[describe_attribute(*each) for each in _attribute_facts(summary)],
    )


def _attribute_facts(summary: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    facts: Mapping[str, Mapping[str, Any]] = summary["data"].get("attributes", {})
    return facts.items()


def render_mistakes(
    summary: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    analysis: ErrorAnalysis,
    pictures: Mapping[str, str],
) -> str:
    """Return `mistakes.html`; see `render_report`."""
    return render(
        "mistakes.html.j2",
        run={"failed_parts": {}, **summary},
        where=_where(summary),
        tables={name: records(tables[name]) for name in mistakes_section.SHOWN if name in tables},
        analysis=analysis,
        pictures=pictures,
    )


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves.update(_flatten(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
