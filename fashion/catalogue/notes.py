"""Why rows of a table fell, in sentences: what most of them lack, with an example."""

from pathlib import PurePosixPath

import pandas as pd

from fashion.catalogue.changed_ids import find_change
from fashion.catalogue.root import CatalogueRoot
from fashion.catalogue.table_cells import Columns


def why_dropped(
    dropped: pd.DataFrame,
    rows_in_file: int,
    root: CatalogueRoot,
    columns: Columns,
    malformed: str,
) -> list[str]:
    """Return a sentence for each reason that more than half of the rows fell for.

    Ids that a spreadsheet changed are told of however few they are.

    Args:
        dropped: Lines, ids, reasons and details of the rows that fell.
        rows_in_file: All rows.
        root: Where the photos are.
        columns: As the table was asked for.
        malformed: The first malformed row beside the header, in words.
    """
    sentences: list[str] = []
    for reason, rows in dropped.groupby("reason"):
        is_most = 2 * len(rows) > rows_in_file
        count = f"{len(rows):,} of {rows_in_file:,} rows of {root.table_name}"
        line, id_ = rows[["line", "id"]].iloc[0]
        if reason == "no image" and columns.image is None:
            what = _beside_photos(rows, root, is_most)
            sentences += [f"{count} have no photo: {what}."] if what else []
        elif is_most and reason == "no image":
            sentences.append(f"{count} have no photo: {_path_looked_for(rows, root, columns)}.")
        elif is_most and reason == "malformed":
            sentences.append(
                f"{count} are malformed: {malformed}. data.malformed_rows=repair reads rows with "
                "more fields than the header."
            )
        elif is_most and reason == "repeated id" and not sentences:
            sentences.append(
                f"{count} repeat an id, {id_!r} in line {line} for one. If that names a product "
                "with several photos, pass data.image_column=<the column of their paths>."
            )
        elif is_most and reason == "no label":
            sentences.append(_without_label(count, line, id_, root, columns))
    return sentences


def _without_label(count: str, line: int, id_: str, root: CatalogueRoot, columns: Columns) -> str:
    if root.csv_name is None:
        return f"{count} have no folder that names a label, {id_!r} for one."
    return f"{count} have nothing in data.label_column={columns.label!r}, line {line} for one."


def _beside_photos(rows: pd.DataFrame, root: CatalogueRoot, is_most: bool) -> str:
    """Return an id that has no photo, beside a photo; nothing where it tells nothing."""
    change = find_change(rows["id"], root.photos)
    if change:
        line = rows.loc[rows["id"] == change.id, "line"].iloc[0]
        name = PurePosixPath(root.photos[change.known]).name
        return f"id {change.id!r} of line {line}; {_where(root)} holds {name!r}: {change.what}"
    if not is_most:
        return ""
    line, id_ = rows[["line", "id"]].iloc[0]
    photo = next(iter(root.photos.values()), None)
    holds = repr(PurePosixPath(photo).name) if photo else "no photos"
    return f"id {id_!r} of line {line}; {_where(root)} holds {holds}"


def _path_looked_for(rows: pd.DataFrame, root: CatalogueRoot, columns: Columns) -> str:
    """Return a path of the table, and where it was looked for."""
    line, written = rows[["line", "detail"]].iloc[0]
    key = f"data.image_column={columns.image!r}"
    paths = root.finder.paths_looked_for(written)
    if not paths:
        return f"line {line} has {written!r} in {key}, which is no path below data.root"
    places = " and in ".join(["beside the table", *filter(None, [root.photo_folder])])
    fetch = "; photos on the web have to be fetched first" if "://" in written else ""
    looked = " or ".join(map(repr, paths[:3]))
    return f"{written!r} of line {line} was looked for as {looked}, {places}{fetch}"


def _where(root: CatalogueRoot) -> str:
    return root.photo_folder or "the folder of the table"
