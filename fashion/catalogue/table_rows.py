"""The rows of a catalogue's table: each with its id, label and photo, or why it has none."""

from dataclasses import dataclass
from functools import partial

import pandas as pd

from fashion.catalogue.csv_rows import Row, open_rows
from fashion.catalogue.root import CatalogueRoot

DROPPED_COLUMNS = ["line", "id", "label", "reason", "detail"]


@dataclass(frozen=True)
class TableRows:
    """What a table holds.

    Attributes:
        table: One row a photo, as `fashion.catalogue.table` describes it; the photo is missing
            where none was found.
        dropped: The rows that name no photo.
        rows_in_file: All rows after the header.
        attributes: All columns of the well-formed rows, text, by line.
    """

    table: pd.DataFrame
    dropped: pd.DataFrame
    rows_in_file: int
    attributes: pd.DataFrame


def read_table(
    root: CatalogueRoot, columns: tuple[str | None, str | None, str], repair: bool
) -> TableRows:
    """Read the table of a catalogue.

    Args:
        root: It has one.
        columns: Those of the ids, of the photos' paths and of the labels, as `load_catalogue` takes
            them.
        repair: Whether unquoted commas in the last field are read as part of it.

    Raises:
        ValueError: The table can't be used.
    """
    id_column, image_column, label_column = columns
    header, rows = _read_rows(root)
    if id_column is None and image_column is None:
        raise ValueError(
            "data.id_column=null takes the photo's path for a name; pass data.image_column=<the "
            "column of the photos' paths>, too."
        )
    keys = ("id_column", "image_column", "label_column")
    for key, column in zip(keys, columns, strict=True):
        if column is not None and column not in header:
            raise ValueError(
                f"data.{key}={column!r}: {root.table_name} of data.root={str(root.path)!r} has no "
                f"column {column!r}; its columns are {', '.join(header)}."
            )
    attributes, malformed = _sort_rows(header, rows, id_column or image_column, repair)
    table = pd.DataFrame({"id": attributes[id_column or image_column]})
    table["label"] = attributes[label_column]
    if image_column:
        table["photo"] = attributes[image_column].map(root.find)
    else:
        _check_file_names(table, root)
        table["photo"] = table["id"].map(root.photos)
    table = table.reset_index(names="line")
    _check_ids(table, root)
    return TableRows(table, malformed, len(rows), attributes)


def _read_rows(root: CatalogueRoot) -> tuple[list[str], list[Row]]:
    """Return the header and `(line, fields)` of each row; a blank line is no row."""
    assert root.csv_name is not None
    subject = f"data.root={str(root.path)!r}: {root.table_name}"
    with open_rows(partial(root.open, root.csv_name), subject) as (header, numbered):
        rows = list(numbered)
    if not rows:
        raise ValueError(f"{subject} has no rows.")
    for line, fields in rows:
        # A quote that is never closed swallows whole rows into one field.
        if any(part.count(",") >= len(header) - 1 for f in fields for part in f.split("\n")[1:]):
            raise ValueError(
                f"data.root={str(root.path)!r}: a quote in line {line} of {root.table_name} is not "
                "closed and swallows the rows after it. Close or remove it."
            )
    return header, rows


def _sort_rows(
    header: list[str], rows: list[Row], id_column: str | None, repair: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the rows into well-formed ones, by `line` with their columns, and malformed ones."""
    width, id_place = len(header), header.index(str(id_column))
    good, bad = {}, []
    for line, fields in rows:
        if repair and len(fields) > width:
            fields = [*fields[: width - 1], ",".join(fields[width - 1 :])]
        if len(fields) == width:
            good[line] = fields
        else:
            id_ = fields[id_place] if len(fields) > id_place else ""
            bad.append((line, id_, "", "malformed", f"{len(fields)} fields, not {width}"))
    attributes = pd.DataFrame(list(good.values()), index=list(good), columns=header)
    return attributes, pd.DataFrame(bad, columns=DROPPED_COLUMNS)


def _check_file_names(table: pd.DataFrame, root: CatalogueRoot) -> None:
    unsafe = table["id"].str.contains(r"[/\\\x00]") | table["id"].isin(["", ".", ".."])
    if unsafe.any():
        row = table[unsafe].iloc[0]
        raise ValueError(
            f"data.root={str(root.path)!r}: the id {row['id']!r} in line {row.name} of "
            f"{root.table_name} is no file name in images/. Correct that row."
        )


def _check_ids(table: pd.DataFrame, root: CatalogueRoot) -> None:
    repeated = table[table["id"].duplicated(keep=False)]
    if not repeated.empty:
        first = repeated["id"].iloc[0]
        lines = ", ".join(map(str, repeated[repeated["id"] == first]["line"]))
        raise ValueError(
            f"data.root={str(root.path)!r}: {repeated['id'].nunique()} ids of {root.table_name} "
            f"stand in several rows, {first!r} in lines {lines}. Remove the repeated rows."
        )
