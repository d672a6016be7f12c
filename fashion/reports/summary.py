"""What a report says in figures: `summary.json`."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fashion.metrics.metrics import FIGURES
from fashion.metrics.predictions import Predictions, per_class_table, score_predictions
from fashion.metrics.study import has_study_classes, load_study
from fashion.reports import attributes_section, calibration_section
from fashion.reports.error_analysis import ErrorAnalysis


def summarise(
    predictions: Predictions, run: Mapping[str, Any], analysis: ErrorAnalysis
) -> dict[str, Any]:
    """Join what is known of the run with its scores, as strict JSON: null where undefined."""
    scores = score_predictions(predictions)
    support = np.bincount(predictions.targets, minlength=len(predictions.class_names))
    absent = [name for name, n in zip(predictions.class_names, support, strict=True) if n == 0]
    block = {
        **scores,
        **macro_figures(predictions),
        **_by_acquaintance(predictions, analysis),
        **calibration_section.facts(predictions, analysis),
        "support": len(predictions.targets),
        "absent_classes": absent,
    }
    if predictions.attributes:
        block["attributes"] = attributes_section.facts(predictions)
    summary = {**run, run["split"]: block}
    study = load_study()["models"].get(run["model"])
    if study and is_comparable(predictions, run):
        summary["study"] = {key: study[key] for key in ("test_accuracy", "macro_auprc")}
    strict: dict[str, Any] = _jsonable(summary)
    return strict


def macro_figures(predictions: Predictions) -> dict[str, dict[str, float]]:
    """Return the macro figures over the classes that have images, and over all.

    The two differ where a class has none: over all it counts 0 in both figures.
    """
    table = per_class_table(predictions)
    parts = {"over_present_classes": table[table["support"] > 0], "over_all_classes": table}
    return {
        name: {
            "classes": len(part),
            "macro_f1": part["f1"].mean(),
            "macro_auprc": part["average_precision"].fillna(0).mean(),
        }
        for name, part in parts.items()
    }


def headline(summary: Mapping[str, Any]) -> str:
    """Return the split and its headline figures in one line."""
    scores = summary[summary["split"]]
    attributes = "".join(
        f"; {name}: {_figures(figures)}" for name, figures in scores.get("attributes", {}).items()
    )
    if not scores["absent_classes"]:
        return f"{summary['split']}: {_figures(scores)}{attributes}"
    present, every = (scores[f"over_{which}_classes"] for which in ("present", "all"))
    return (
        f"{summary['split']}: {_figures({**scores, **present})} over the {present['classes']} of "
        f"{every['classes']} classes that have images ({_figures(every)} over all){attributes}"
    )


def _figures(scores: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {scores[key]:.4f}" for key in FIGURES if key in scores)


def _by_acquaintance(
    predictions: Predictions, analysis: ErrorAnalysis
) -> dict[str, dict[str, float]]:
    """Return accuracy and support of the images that the model may have seen, and of the others."""
    parts = {}
    if predictions.has_twin is not None:
        parts["with_twin_in_train"] = predictions.has_twin
        parts["without_twin_in_train"] = ~predictions.has_twin
    if analysis.trained_on is not None:
        parts["trained_on"] = analysis.trained_on
        parts["not_trained_on"] = ~analysis.trained_on
    right = predictions.hits()
    return {
        name: {"accuracy": right[part].mean() if part.any() else math.nan, "support": part.sum()}
        for name, part in parts.items()
    }


def is_comparable(predictions: Predictions, run: Mapping[str, Any]) -> bool:
    """Return whether a run's figures are of real test photos of the study's classes."""
    real_test = run["split"] == "test" and not run["drawn_sample"]
    return real_test and has_study_classes(predictions.class_names)


def _jsonable(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return [_jsonable(item) for item in value]
    if isinstance(value, np.generic):
        return _jsonable(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
