"""The section of a report on how far the probabilities can be trusted."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fashion.metrics.calibration import (
    area_under_risk_coverage,
    calibration_error,
    refusal_table,
    reliability_table,
    risk_coverage,
    unknowns_auroc,
)
from fashion.metrics.predictions import Predictions
from fashion.reports.calibration_figures import plot_reliability, plot_risk_coverage, plot_unknowns
from fashion.reports.error_analysis import ErrorAnalysis


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
    before, targets = predictions.probabilities, predictions.targets
    after = calibration.calibrate(before)
    confidences = after.max(axis=1)
    facts: dict[str, Any] = {
        "calibration": {
            "temperature": calibration.temperature,
            "error_before": calibration_error(before, targets),
            "error_after": calibration_error(after, targets),
            "area_under_risk_coverage": area_under_risk_coverage(confidences, predictions.hits()),
        }
    }
    if analysis.unknown is not None:
        auroc = unknowns_auroc(confidences, analysis.unknown)
        facts["unknown"] = {"photos": len(analysis.unknown), "auroc": auroc}
    return facts


def tables(predictions: Predictions, analysis: ErrorAnalysis) -> dict[str, pd.DataFrame]:
    """Return `reliability_before`, `reliability_after`, `risk_coverage` and `refusal`, if known."""
    calibration = analysis.calibration
    if calibration is None:
        return {}
    after = calibration.calibrate(predictions.probabilities)
    confidences, hits = after.max(axis=1), predictions.hits()
    return {
        "reliability_before": reliability_table(predictions.probabilities, predictions.targets),
        "reliability_after": reliability_table(after, predictions.targets),
        "risk_coverage": risk_coverage(confidences, hits),
        "refusal": refusal_table(calibration, confidences, hits, analysis.unknown),
    }


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
            tables["reliability_before"],
            tables["reliability_after"],
            (errors["error_before"], errors["error_after"]),
            f"Confidence and accuracy: {where}",
        ),
        "risk_coverage": lambda: plot_risk_coverage(
            tables["risk_coverage"], tables["refusal"], f"Precision of what is answered: {where}"
        ),
    }
    if unknown is not None:
        drawings["unknown"] = lambda: plot_unknowns(
            calibration.calibrate(predictions.probabilities).max(axis=1),
            unknown,
            f"Confidence in known and unknown photos: {where}",
            facts["unknown"]["auroc"],
        )
    return drawings
