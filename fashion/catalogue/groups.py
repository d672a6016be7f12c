"""Photos that belong together: twins of each other, or of one product."""

from collections.abc import Iterable

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


def joined(first: Iterable[object], second: Iterable[object]) -> list[int]:
    """Return a group of each photo, so that those who share one in either way share it.

    Args:
        first: The group of each photo.
        second: Another group of each.
    """
    parent: dict[tuple[int, object], tuple[int, object]] = {}

    def root(node: tuple[int, object]) -> tuple[int, object]:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    pairs = [((0, one), (1, other)) for one, other in zip(first, second, strict=True)]
    for one, other in pairs:
        parent[root(other)] = root(one)
    numbers: dict[tuple[int, object], int] = {}
    return [numbers.setdefault(root(one), len(numbers)) for one, _ in pairs]
