"""Further columns that a model is to tell, beside the label: their values in a catalogue table.

A value counts where at least `data.min_images` photos have it, one of them in train. A photo of any
other value, or of none, stays what it is by its label, and has no part in that column.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fashion.attributes import MISSING
from fashion.catalogue.labels import NO_VALUES
from fashion.wording import first_of, many

PREFIX = "label:"  # before an attribute's name, in a catalogue table


def column_of(attribute: str) -> str:
    """Return the column of the catalogue table that holds an attribute's values."""
    return f"{PREFIX}{attribute}"


def attributes_in(table: pd.DataFrame) -> list[str]:
    """Return the attributes that a catalogue table has values of, in their order."""
    columns = map(str, table.columns)
    return [column.removeprefix(PREFIX) for column in columns if column.startswith(PREFIX)]


def without_no_values(values: "pd.Series[str]") -> "pd.Series[str]":
    """Return the cells of a column, those empty that hold what people write for no value."""
    return values.mask(values.str.casefold().isin(NO_VALUES), "")


def choose_values(table: pd.DataFrame, min_images: int) -> dict[str, tuple[str, ...]]:
    """Return the values of each attribute that count, sorted.

    Args:
        table: The catalogue table, with its splits.
        min_images: Values of fewer photos don't count.

    Raises:
        ValueError: An attribute has fewer than two.
    """
    is_trained = table["split"] == "train"
    chosen = {}
    for name in attributes_in(table):
        values = table[column_of(name)]
        counts = values[values != ""].value_counts()
        trained = {*values[is_trained]}
        kept = [value for value, n in counts.items() if n >= min_images and value in trained]
        if len(kept) < 2:
            largest = first_of(f"{value!r} ({n:,})" for value, n in counts.items())
            raise ValueError(
                f"data.label_column: {name!r} has {many(len(kept), 'value')} of "
                f"data.min_images={min_images} photos or more, and there must be two; its largest "
                f"are {largest or 'none'}. Leave it out of the list, or lower data.min_images."
            )
        chosen[name] = tuple(sorted(map(str, kept)))
    return chosen


def targets_of(table: pd.DataFrame, attribute: str, values: Sequence[str]) -> np.ndarray:
    """Return the places of the photos' values among some, `(N,)` int64, or `MISSING`.

    A table that has no such column has no value of it.
    """
    if column_of(attribute) not in table:
        return np.full(len(table), MISSING, np.int64)
    places = {value: place for place, value in enumerate(values)}
    cells = table[column_of(attribute)]
    return np.array([places.get(cell, MISSING) for cell in cells], np.int64)


def attribute_facts(
    table: pd.DataFrame, attributes: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Return what a summary says of each attribute: every photo is in one of its counts.

    Returns:
        `values`, their number; `photos` that have one of them; `no_value`, the photos without any;
        and `rare`, the photos of each value that doesn't count.
    """
    facts = {}
    for name, values in attributes.items():
        cells = table.get(column_of(name), pd.Series("", index=table.index))
        counts = cells.value_counts()
        rare = {str(value): int(n) for value, n in counts.items() if value not in ("", *values)}
        missing = int(counts.get("", 0))
        facts[name] = {
            "values": len(values),
            "photos": len(table) - missing - sum(rare.values()),
            "no_value": missing,
            "rare": rare,
        }
    return facts


def describe_attribute(name: str, facts: Mapping[str, Any]) -> str:
    """Return an attribute's facts in a line for the screen."""
    rare = facts["rare"]
    told = first_of(f"{value!r} ({n:,})" for value, n in rare.items())
    aside = f", {sum(rare.values()):,} with one that doesn't count: {told}" if rare else ""
    return (
        f"{name}: {many(facts['photos'], 'photo')} of {many(facts['values'], 'value')}; "
        f"{facts['no_value']:,} without one{aside}"
    )
