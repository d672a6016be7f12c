"""What a report says in figures: `summary.json`."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fashion.metrics.metrics import FIGURES
from fashion.metrics.predictions import Predictions, score_predictions
from fashion.metrics.study import has_study_classes, load_study
from fashion.reports import calibration_section
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
        **_by_twin(predictions),
        **calibration_section.facts(predictions, analysis),
        "support": len(predictions.targets),
        "absent_classes": absent,
    }
    summary = {**run, run["split"]: block}
    study = load_study()["models"].get(run["model"])
    if study and is_comparable(predictions, run):
        summary["study"] = {key: study[key] for key in ("test_accuracy", "macro_auprc")}
    strict: dict[str, Any] = _jsonable(summary)
    return strict


def headline(summary: Mapping[str, Any]) -> str:
    """Return the split and its headline figures in one line."""
    scores = summary[summary["split"]]
    return f"{summary['split']}: " + ", ".join(f"{key} {scores[key]:.4f}" for key in FIGURES)


def _by_twin(predictions: Predictions) -> dict[str, dict[str, float]]:
    """Return accuracy and support of the images with and without a twin in the training split."""
    if predictions.has_twin is None:
        return {}
    right = predictions.hits()
    parts = {
        "with_twin_in_train": predictions.has_twin,
        "without_twin_in_train": ~predictions.has_twin,
    }
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
