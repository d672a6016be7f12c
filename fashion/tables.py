"""CSV files for people: a cell that a spreadsheet would compute is marked as text."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # pandas is loaded where a table is written, not where a cell is marked
    import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that spreadsheets compute
MARK = "'"  # what marks it as text, in spreadsheets, too
TOP = 5  # labels that are told of a photo
# What columns may be called already where labels are told, so that no attribute's is.
TAKEN = {
    *("photo", "row", "sure", "error", "probabilities", "sha256", "bytes", "width", "height"),
    *("name_used", "final_label", "decision", "decided_at", "model"),
    *(f"{kind}_{place}" for place in range(1, TOP + 1) for kind in ("label", "probability")),
}


def csv_text(table: "pd.DataFrame", **options: Any) -> str:
    """Return a table as CSV, lines ending in a line feed, text cells marked as text where need be.

    Args:
        table: The index isn't written.
        options: Those of `pandas.DataFrame.to_csv`.
    """
    from pandas.api.types import is_numeric_dtype

    marked = table.copy()
    for column in table:
        if not is_numeric_dtype(table[column]):
            marked[column] = _marked(table[column])
    text: str = marked.to_csv(index=False, lineterminator="\n", **options)
    return text


def _marked(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    import numpy as np

    if cells.dtype == "category":
        return cells.map(mark_text)
    first = cells.to_numpy(object).astype("U1")  # a million within a tenth of a second
    chosen = np.isin(first, (*FORMULA, MARK))
    return cells.mask(chosen, cells[chosen].map(mark_text)) if chosen.any() else cells


def list_text(table: "pd.DataFrame", **options: Any) -> str:
    """Return a table as `csv_text` does, to be edited in a spreadsheet and read again.

    Without a mark spreadsheets take UTF-8 for a code page, and save it so.
    """
    text = csv_text(table, **options)
    return text if text.isascii() else f"\ufeff{text}"


def mark_text(cell: object) -> object:
    """Return a cell such that no spreadsheet computes it; numbers are no text."""
    if isinstance(cell, str) and cell.startswith((*FORMULA, MARK)):
        return MARK + cell
    return cell


def unmark_text(cell: str) -> str:
    """Return what `mark_text` was given."""
    if cell.startswith(MARK) and cell[1:].startswith((*FORMULA, MARK)):
        return cell[1:]
    return cell


def attribute_columns(attributes: Iterable[str]) -> list[tuple[str, str]]:
    """Return the columns of each attribute, value and probability; a taken name has ` (2)`."""
    taken, columns = {*TAKEN}, []
    for attribute in attributes:
        name = str(mark_text(attribute))
        while taken & {name, f"{name}_probability"}:
            name += " (2)"
        columns.append((name, f"{name}_probability"))
        taken |= {*columns[-1]}
    return columns
