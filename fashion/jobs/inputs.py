"""From what `input=` names to the places of photos: folders, zips, lists and tables of names."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fashion.labelling.photos import Place, find_photos

LIST_SUFFIXES = (".txt", ".lst")
ADDRESS = "://"  # in the name of a photo in an object store
COLUMNS = ("photo", "file", "member", "name")  # of a table
BATCH = 2**16  # rows of a table that are read at a time


def list_places(paths: Sequence[str], zip_encoding: str | None = None) -> Iterator[Place]:
    """Yield where the photos of some inputs lie, those of each as `fashion predict` orders them.

    Args:
        paths: Folders, zips, photos; lists, `.txt` with a path a line; tables, `.parquet` with the
            columns `file` or `photo` or both, `member` of a zip, and `name` of the product. Paths
            in lists and tables are told from their folder, or are addresses.
        zip_encoding: The code page of names in a zip that are no UTF-8.

    Raises:
        FileNotFoundError: One doesn't exist, or has no photo.
        ValueError: A zip or a table can't be read.
    """
    for text in paths:
        path = Path(text)
        suffix = path.suffix.lower()
        if suffix == ".parquet" and path.is_file():
            yield from _of_table(path)
        elif suffix in LIST_SUFFIXES and path.is_file():
            yield from _of_list(path)
        else:
            yield from find_photos([path], zip_encoding).places()


def tables_with_names(paths: Sequence[str]) -> list[str]:
    """Return which of some inputs are tables that name products.

    Raises:
        ValueError: A table can't be read.
    """
    named = []
    for text in paths:
        path = Path(text)
        if path.suffix.lower() == ".parquet" and path.is_file():
            try:
                columns = pq.read_schema(path).names
            except (ValueError, OSError) as error:
                raise ValueError(f"input={text!r} is no table of photos: {error}.") from error
            if "name" in columns:
                named.append(text)
    return named


def _of_list(path: Path) -> Iterator[Place]:
    folder = os.path.abspath(path.parent)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as lines:
        for line in lines:
            name = line.rstrip("\r\n")
            if name:
                yield Place(name, _joined(folder, name))


def _of_table(path: Path) -> Iterator[Place]:
    folder = os.path.abspath(path.parent)
    try:
        with pq.ParquetFile(path) as table:
            columns = [c for c in COLUMNS if c in table.schema_arrow.names]
            if not {"photo", "file"} & {*columns}:
                raise ValueError(
                    f"it has the columns {', '.join(table.schema_arrow.names)} and needs file or "
                    "photo"
                )
            for batch in table.iter_batches(BATCH, columns=columns):
                cells = {name: batch.column(name).to_pylist() for name in columns}
                for row in range(batch.num_rows):
                    yield _place({name: _text(cells[name][row]) for name in columns}, folder)
    except (ValueError, OSError) as error:
        raise ValueError(f"input={str(path)!r} is no table of photos: {error}.") from error


def _place(cells: dict[str, str | None], folder: str) -> Place:
    file, member = cells.get("file") or cells.get("photo"), cells.get("member")
    if not file:
        raise ValueError("a row names no file")
    name = cells.get("photo") or (f"{file}/{member}" if member else file)
    return Place(name, _joined(folder, file), member or None, cells.get("name") or "")


def _joined(folder: str, file: str) -> str:
    """Return a path from a folder; an address such as `s3://…` is none."""
    return file if ADDRESS in file else os.path.join(folder, file)


def _text(cell: Any) -> str | None:  # noqa: ANN401 - of a table
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape")
    raise ValueError(f"{cell!r} is no name")
