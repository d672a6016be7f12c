"""The rows of a catalogue's table: each with its id, label and photo, or why it has none."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fashion.catalogue.csv_rows import CsvForm
from fashion.catalogue.labels import clean_text
from fashion.catalogue.root import CatalogueRoot
from fashion.catalogue.table_cells import DROPPED_COLUMNS, Columns, read_cells

NO_FILE_NAME = r"[/\\\x00]|^\.{0,2}$"


@dataclass(frozen=True)
class TableRows:
    """What a table holds.

    Attributes:
        table: One row a photo, as `fashion.catalogue.table` describes it; the photo is missing
            where none was found.
        dropped: The rows that aren't rows of a photo, with the columns `DROPPED_COLUMNS`.
        rows_in_file: All rows after the header.
        attributes: See `fashion.catalogue.table_cells.Cells.columns`.
        malformed: The first malformed row, in words.
        inherited: How many rows took the label of another row of their product.
    """

    table: pd.DataFrame
    dropped: pd.DataFrame
    rows_in_file: int
    attributes: pd.DataFrame
    malformed: str
    inherited: int


def read_table(
    root: CatalogueRoot, columns: Columns, repair: bool, form: CsvForm | None = None
) -> TableRows:
    """Read the table of a catalogue.

    Where a column names the photos, an id may be that of a product with several. They share its
    label and are told apart as `id#1`, `id#2`, in the table's order.

    Args:
        root: It has a table.
        columns: Those asked for.
        repair: Whether delimiters in the last cell, unquoted, are read as part of it.
        form: How the table is written.

    Raises:
        ValueError: The table can't be used.
    """
    if columns.id is None and columns.image is None:
        raise ValueError(
            "data.id_column=null takes the photo's path for a name; pass data.image_column=<the "
            "column of the photos' paths>, too."
        )
    cells = read_cells(root, columns, repair, form)
    asked = columns.by_key()
    texts = {
        key: cells.columns[name].reset_index(drop=True).astype(str) for key, name in asked.items()
    }
    rows = pd.DataFrame({"line": cells.columns.index})
    rows["id"] = texts.get("id_column", texts.get("image_column"))
    rows["label"] = _cleaned(texts["label_column"])
    rows["reason"], rows["detail"], inherited = "", "", 0
    if columns.image is None:
        rows["id"], photos = _found_by_id(rows["id"].tolist(), root.photos)
        rows["product"], rows["photo"] = rows["id"], pd.Series(photos, dtype=object)
        _mark_repeated(rows, ["id"], rows["id"] != "", cells.hashes)
    else:
        paths = texts["image_column"].str.strip()
        rows["product"] = rows["id"] = rows["id"].str.strip()
        rows["photo"] = paths.map(root.find).astype(object)
        inherited = _take_labels_of_products(rows)
        has_path = (paths != "") & (rows["id"] != "")
        rows["place"] = rows["photo"].fillna(paths)
        _mark_repeated(rows, ["id", "place"], has_path, cells.hashes)
        rows.loc[(rows["id"] == "") & (paths != ""), "reason"] = "no id"
        rows["id"] = _own_ids(rows["id"], has_path & (rows["reason"] == ""))
    is_dropped = rows["reason"] != ""
    dropped = rows.loc[is_dropped, DROPPED_COLUMNS]
    return TableRows(
        table=rows.loc[~is_dropped, ["line", "id", "label", "photo", "product"]],
        dropped=pd.concat([cells.dropped, dropped], ignore_index=True),
        rows_in_file=len(rows) + len(cells.dropped),
        attributes=cells.columns,
        malformed=cells.malformed,
        inherited=inherited,
    )


def no_file_name(ids: "pd.Series[str]") -> "pd.Series[bool]":
    """Return which ids can't be the name of a photo in images/."""
    return ids.str.contains(NO_FILE_NAME)


def _found_by_id(ids: list[str], photos: Mapping[str, str]) -> tuple[list[str], list[str | None]]:
    """Return the ids, without space around them where that isn't a photo's, and their photos."""
    found = [photos.get(id_) for id_ in ids]
    for place in [place for place, photo in enumerate(found) if photo is None]:
        ids[place] = ids[place].strip()
        found[place] = photos.get(ids[place])
    return ids, found


def _cleaned(labels: "pd.Series[str]") -> "pd.Series[str]":
    return labels.map({label: clean_text(label) for label in labels.unique()})


def _mark_repeated(
    rows: pd.DataFrame, by: list[str], counts: "pd.Series[bool]", hashes: np.ndarray
) -> None:
    """Give the rows that come again a reason.

    Args:
        rows: The table.
        by: The columns in which they are the same.
        counts: Which rows are looked at.
        hashes: The same for rows that are copies in all columns.
    """
    among = rows[counts]
    again = among[among.duplicated(by)].index
    if again.empty:
        return
    own = hashes[among.index]
    firsts = among.assign(copy=own).groupby(by)[["line", "copy"]].transform("first").loc[again]
    is_copy = firsts["copy"] == own[among.index.get_indexer(again)]
    what = is_copy.map({True: "a copy of line ", False: "stands in line "})
    rows.loc[again, "reason"] = "repeated id"
    rows.loc[again, "detail"] = what + firsts["line"].astype(str)


def _take_labels_of_products(rows: pd.DataFrame) -> int:
    """Give rows without a label the first one of their product; return how many took one."""
    lacks = (rows["label"] == "") & (rows["id"] != "")
    labels = rows[rows["label"] != ""].drop_duplicates("id").set_index("id")["label"]
    taken = rows.loc[lacks, "id"].map(labels).dropna()
    rows.loc[taken.index, "label"] = taken
    return len(taken)


def _own_ids(ids: "pd.Series[str]", counts: "pd.Series[bool]") -> "pd.Series[str]":
    """Number those of the ids counted that several rows have."""
    several = counts & ids.where(counts).duplicated(keep=False)
    numbers = (ids[several].groupby(ids[several]).cumcount() + 1).astype(str)
    mark = "#"
    while (own := ids.where(~several, ids + mark + numbers))[counts].duplicated().any():
        mark += "#"  # ids that end in # and a number are there already
    return own
