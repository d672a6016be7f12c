"""The sections of a report on what a model says of attributes, one for each."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fashion.metrics.calibration import calibration_error
from fashion.metrics.intervals import figure_intervals
from fashion.metrics.metrics import FIGURES
from fashion.metrics.predictions import (
    Predictions,
    confused_pairs,
    per_class_table,
    score_predictions,
)
from fashion.metrics.resampling import affordable_resamples, bootstrap
from fashion.reports.pages import records

NUM_RESAMPLES = 2000
TABLES = {"attribute_values": per_class_table, "attribute_pairs": confused_pairs}


def facts(predictions: Predictions) -> dict[str, dict[str, Any]]:
    """Return what a summary says of each attribute: its figures with their 95 % intervals.

    All are of the images that have a value; `support` is their number.
    """
    return {name: _facts(each) for name, each in predictions.attributes.items()}


def _facts(predictions: Predictions) -> dict[str, Any]:
    scores, table = score_predictions(predictions), per_class_table(predictions)
    num_images, num_values = predictions.probabilities.shape
    number = affordable_resamples(num_images, num_values, NUM_RESAMPLES)
    ends = figure_intervals(scores, bootstrap(predictions, number), num_images)
    facts: dict[str, Any] = {"values": num_values, "support": num_images}
    for name in FIGURES:
        facts |= {name: scores[name], **{key: ends[key] for key in (f"{name}_low", f"{name}_high")}}
    facts["absent_values"] = table.loc[table["support"] == 0, "class"].tolist()
    if predictions.temperature is not None:
        targets = predictions.targets
        facts["calibration"] = {
            "temperature": predictions.temperature,
            "error_before": calibration_error(predictions.probabilities, targets),
            "error_after": calibration_error(predictions.calibrated(), targets),
        }
    return facts


def tables(predictions: Predictions) -> dict[str, pd.DataFrame]:
    """Return `attribute_values` and `attribute_pairs`, where there are attributes.

    They are what `per_class_table` and `confused_pairs` are of the label, with the attribute in the
    first column.
    """
    if not predictions.attributes:
        return {}
    made = {}
    for table_name, make in TABLES.items():
        parts = [
            make(each).rename(columns={"class": "value"}).assign(attribute=name)
            for name, each in predictions.attributes.items()
        ]
        table = pd.concat(parts, ignore_index=True)
        made[table_name] = table[["attribute", *table.columns.drop("attribute")]]
    return made


def shown(
    scores: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]
) -> dict[str, dict[str, Any]]:
    """Return what a page shows of each attribute: `figures`, `values` and `pairs`.

    Args:
        scores: The summary's of the split.
        tables: What `tables` returned, among others.
    """
    return {
        name: {
            "figures": figures,
            **{
                key: records(table[table["attribute"] == name])
                for key in ("values", "pairs")
                for table in [tables[f"attribute_{key}"]]
            },
        }
        for name, figures in scores.get("attributes", {}).items()
    }
