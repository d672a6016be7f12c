"""Which classes a figure shows where there are too many for one."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST = 40  # classes that a figure then shows
ALL = 60  # classes up to which it shows them all


def choose_classes(table: pd.DataFrame) -> NDArray[np.intp]:
    """Return the rows of the classes that figures show: all, or those that lose most photos.

    Args:
        table: One row a class: `recall`, `support` and `f1`.

    Returns:
        Places in the table, rising.
    """
    if len(table) <= ALL:
        return np.arange(len(table))
    lost = (table["support"] * (1 - table["recall"])).round()
    by_loss = np.lexsort((table["f1"], -lost))
    return np.sort(by_loss[:MOST])


def choose_sizes(totals: "pd.Series[int]") -> tuple["pd.Series[int]", str]:
    """Return the sizes of the classes that a figure shows, rising, and which these are, in words.

    Args:
        totals: The photos of each class, by its name.

    Returns:
        All of them, with no words, or the largest and the smallest.
    """
    rising = totals.sort_values(kind="stable")
    if len(rising) <= ALL:
        return rising, ""
    half = MOST // 2
    ends = pd.concat([rising.iloc[:half], rising.iloc[-half:]])
    return ends, f"; the {half} largest and the {half} smallest of {len(totals):,} classes"


def in_words(number: int) -> str:
    """Return which of so many classes `choose_classes` returns, in words."""
    return (
        "each class" if number <= ALL else f"the {MOST} of {number:,} classes that lose most photos"
    )
