"""What runs say of attributes, side by side: figures, and which differences are real."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fashion.metrics.intervals import compare_pairs
from fashion.metrics.metrics import FIGURES
from fashion.metrics.predictions import Predictions


def attribute_columns(test: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the columns of a run's attributes, such as `gender_accuracy`, with `_low` and `_high`.

    Args:
        test: The summary's of the test split.
    """
    return {
        f"{name}_{key}": None if figures[key] is None else round(figures[key], 4)
        for name, figures in test.get("attributes", {}).items()
        for figure in FIGURES
        for key in (figure, f"{figure}_low", f"{figure}_high")
    }


def compare_attributes(paths: Mapping[str, Path]) -> pd.DataFrame:
    """Test for each attribute which of the runs that were tested on the same photos differ.

    Args:
        paths: Saved predictions, by the run's name.

    Returns:
        `attribute`, and the columns of `compare_pairs`, whose correction is over the pairs of an
        attribute; no row where no two runs tell the same values of the same photos.

    Raises:
        ValueError: A file is damaged, or something else.
    """
    told: dict[str, dict[str, Predictions]] = {}
    for run, path in paths.items():
        for name, predictions in Predictions.load(path).sorted_by_id().attributes.items():
            told.setdefault(name, {})[run] = predictions
    tables = [
        compare_pairs({run: each.hits() for run, each in alike.items()}).assign(attribute=name)
        for name, of_runs in told.items()
        if len(alike := _alike(of_runs)) > 1
    ]
    table = pd.concat(tables or [compare_pairs({}).assign(attribute="")], ignore_index=True)
    return table[["attribute", *table.columns.drop("attribute")]]


def attributes_shown(table: pd.DataFrame) -> list[str]:
    """Return the attributes that the table of a comparison has figures of."""
    end = f"_{FIGURES[0]}_low"
    columns = map(str, table.columns)
    return [column.removesuffix(end) for column in columns if column.endswith(end)]


def _alike(of_runs: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """Return the runs that were asked the same as the first."""
    first = next(iter(of_runs.values()))
    return {
        run: each
        for run, each in of_runs.items()
        if each.class_names == first.class_names
        and np.array_equal(each.image_ids, first.image_ids)
        and np.array_equal(each.targets, first.targets)
    }
