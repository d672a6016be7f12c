"""Photos that belong together: twins of each other, or of one product."""

from collections.abc import Iterable, Sized

import numpy as np
import pandas as pd


def groups_of_all(table: pd.DataFrame, twins: pd.DataFrame) -> "pd.Series[int]":
    """Return a group for each row of a table: that of its twins, or one of its own.

    Args:
        table: The catalogue table.
        twins: As `fashion.twins.groups.find_twins` returns it.
    """
    alone = pd.Series(-1 - np.arange(len(table)), index=table.index)
    return table["id"].map(twins.set_index("id")["group"]).fillna(alone).astype(int)


def joined(first: Iterable[object], second: Iterable[object]) -> np.ndarray:
    """Return a group of each photo `(N,)`, so that those who share one in either way share it.

    Args:
        first: The group of each photo.
        second: Another group of each.
    """
    (one, names), (other, others) = _numbered(first), _numbered(second)
    part, before = np.arange(len(names)), None  # the least of the groups joined to each so far
    while before is None or not np.array_equal(part, before):
        before = part.copy()
        least = np.full(len(others), len(names))
        np.minimum.at(least, other, before[one])
        np.minimum.at(part, before[one], least[other])
        part = part[part]
    return _numbered(part[one])[0]


def _numbered(groups: Iterable[object]) -> tuple[np.ndarray, Sized]:
    """Return the number of each group, from 0 as they come, and the groups."""
    if not isinstance(groups, (pd.Series, np.ndarray)):
        groups = pd.Series(list(groups), dtype=object)  # tuples may be among them
    return pd.factorize(groups, use_na_sentinel=False)
