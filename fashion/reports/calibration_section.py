"""The section of a report on how far the probabilities can be trusted."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fashion.metrics.calibration import (
    area_under_risk_coverage,
    calibration_error,
    refusal_table,
    reliability_table,
    risk_coverage,
    unknowns_auroc,
)
from fashion.metrics.predictions import Predictions
from fashion.metrics.scaling import Calibration
from fashion.reports.calibration_figures import plot_reliability, plot_risk_coverage, plot_unknowns
from fashion.reports.error_analysis import ErrorAnalysis

ROWS = 50_000  # of the precision over coverage, more than any picture shows


def facts(predictions: Predictions, analysis: ErrorAnalysis) -> dict[str, Any]:
    """Return what a summary says of the calibration; nothing where there is none.

    Returns:
        `calibration`: the temperature, the expected calibration error before and after it, and the
        area under the risk-coverage curve. `unknown`: the photos of no known class and the AUROC of
        telling them by the confidence, where there are any.
    """
    calibration = analysis.calibration
    if calibration is None:
        return {}
    confidences, hits = _confidences(predictions, calibration), predictions.hits()
    facts: dict[str, Any] = {
        "calibration": {
            "temperature": calibration.temperature,
            "error_before": calibration_error(predictions.probabilities, predictions.targets),
            "error_after": calibration_error(*as_two_classes(confidences, hits)),
            "area_under_risk_coverage": area_under_risk_coverage(confidences, hits),
        }
    }
    if analysis.unknown is not None:
        auroc = unknowns_auroc(confidences, analysis.unknown)
        facts["unknown"] = {"photos": len(analysis.unknown), "auroc": auroc}
    return facts


def tables(predictions: Predictions, analysis: ErrorAnalysis) -> dict[str, pd.DataFrame]:
    """Return `reliability_before`, `reliability_after`, `risk_coverage` and `refusal`, if known.

    Of more than `ROWS` distinct confidences so many are in `risk_coverage`, evenly.
    """
    calibration = analysis.calibration
    if calibration is None:
        return {}
    confidences, hits = _confidences(predictions, calibration), predictions.hits()
    return {
        "reliability_before": reliability_table(predictions.probabilities, predictions.targets),
        "reliability_after": reliability_table(*as_two_classes(confidences, hits)),
        "risk_coverage": precision_curve(confidences, hits),
        "refusal": refusal_table(calibration, confidences, hits, analysis.unknown),
    }


def precision_curve(confidences: NDArray[np.float32], hits: NDArray[np.bool_]) -> pd.DataFrame:
    """Trace as `fashion.metrics.calibration.risk_coverage` does, in `ROWS` rows at most."""
    curve = risk_coverage(confidences, hits)
    if len(curve) > ROWS:
        curve = curve.iloc[np.linspace(0, len(curve) - 1, ROWS).astype(int)]
    return curve


def _confidences(predictions: Predictions, calibration: Calibration) -> NDArray[np.float32]:
    """Return those at the calibration's temperature, which the predictions keep if it is theirs."""
    if predictions.temperature != calibration.temperature:
        predictions = replace(predictions, temperature=calibration.temperature)
    return predictions.confidences


def as_two_classes(
    confidences: NDArray[np.float32], hits: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return probabilities `(N, 2)` and targets of which the errors are those of all classes.

    They ask for no more than the highest probability and whether its class is the target.
    """
    return np.stack([confidences, np.zeros_like(confidences)], axis=1), (~hits).astype(np.int64)


def drawings(
    predictions: Predictions,
    analysis: ErrorAnalysis,
    tables: Mapping[str, pd.DataFrame],
    facts: Mapping[str, Any],
    where: str,
) -> dict[str, Callable[[], Figure]]:
    """Return how to draw `reliability`, `risk_coverage` and `unknown`, as far as they are known.

    Args:
        predictions: Of the split.
        analysis: What is known beside them.
        tables: What `tables` returned.
        facts: What `facts` returned.
        where: Model and split, for the headings.
    """
    calibration, unknown = analysis.calibration, analysis.unknown
    if calibration is None:
        return {}
    errors = facts["calibration"]
    drawings = {
        "reliability": lambda: plot_reliability(
            {
                "As the model says": (tables["reliability_before"], errors["error_before"]),
                "After temperature scaling": (tables["reliability_after"], errors["error_after"]),
            },
            f"Confidence and accuracy: {where}",
        ),
        "risk_coverage": lambda: plot_risk_coverage(
            tables["risk_coverage"], tables["refusal"], f"Precision of what is answered: {where}"
        ),
    }
    if unknown is not None:
        drawings["unknown"] = lambda: plot_unknowns(
            _confidences(predictions, calibration),
            unknown,
            f"Confidence in known and unknown photos: {where}",
            facts["unknown"]["auroc"],
        )
    return drawings
