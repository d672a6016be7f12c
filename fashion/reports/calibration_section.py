"""The part of a report on how far the probabilities can be trusted."""

from collections.abc import Mapping
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
from fashion.metrics.predictions import Examination, Predictions
from fashion.reports.calibration_figures import plot_reliability, plot_risk_coverage, plot_unknowns


def facts(predictions: Predictions, examination: Examination) -> dict[str, Any]:
    """Return what a summary says of the calibration; nothing where there is none.

    Returns:
        `calibration`: the temperature, the expected calibration error before and after it, and the
        area under the risk-coverage curve. `unknown`: the photos of no known class and the AUROC of
        telling them by the confidence, where there are any.
    """
    if examination.calibration is None:
        return {}
    before, after = (
        predictions.probabilities,
        examination.calibration.calibrate(predictions.probabilities),
    )
    confidences, targets = after.max(axis=1), predictions.targets
    found: dict[str, Any] = {
        "calibration": {
            "temperature": examination.calibration.temperature,
            "error_before": calibration_error(before, targets),
            "error_after": calibration_error(after, targets),
            "area_under_risk_coverage": area_under_risk_coverage(confidences, predictions.hits()),
        }
    }
    if examination.unknown is not None:
        auroc = unknowns_auroc(confidences, examination.unknown)
        found["unknown"] = {"photos": len(examination.unknown), "auroc": auroc}
    return found


def tables(predictions: Predictions, examination: Examination) -> dict[str, pd.DataFrame]:
    """Return `reliability_before`, `reliability_after`, `risk_coverage` and `refusal`, if known."""
    if examination.calibration is None:
        return {}
    after = examination.calibration.calibrate(predictions.probabilities)
    confidences, hits = after.max(axis=1), predictions.hits()
    return {
        "reliability_before": reliability_table(predictions.probabilities, predictions.targets),
        "reliability_after": reliability_table(after, predictions.targets),
        "risk_coverage": risk_coverage(confidences, hits),
        "refusal": refusal_table(examination.calibration, confidences, hits, examination.unknown),
    }


def draw(
    predictions: Predictions,
    examination: Examination,
    found: Mapping[str, pd.DataFrame],
    said: Mapping[str, Any],
    where: str,
) -> dict[str, Figure]:
    """Draw `reliability`, `risk_coverage` and `unknown`, as far as they are known.

    Args:
        predictions: Of the split.
        examination: What is known beside them.
        found: What `tables` returned.
        said: What `facts` returned.
        where: Model and split, for the headings.
    """
    if examination.calibration is None:
        return {}
    errors = said["calibration"]
    drawn = {
        "reliability": plot_reliability(
            found["reliability_before"],
            found["reliability_after"],
            (errors["error_before"], errors["error_after"]),
            f"Confidence and accuracy: {where}",
        ),
        "risk_coverage": plot_risk_coverage(
            found["risk_coverage"], found["refusal"], f"Precision of what is answered: {where}"
        ),
    }
    if examination.unknown is not None:
        known = examination.calibration.calibrate(predictions.probabilities).max(axis=1)
        drawn["unknown"] = plot_unknowns(
            known,
            examination.unknown,
            f"Confidence in known and unknown photos: {where}",
            said["unknown"]["auroc"],
        )
    return drawn
