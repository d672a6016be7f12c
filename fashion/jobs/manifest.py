"""The photos of a job, numbered: `manifest/part-00000.parquet`, and more where the input has grown.

A part never changes once the job knows of it. Names that are no UTF-8 are told readably in `photo`
and kept as they are in `name`; `product` is what a photo's product is called.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from fashion.catalogue.listing import readable
from fashion.jobs.durable import replacing
from fashion.labelling.photos import Place

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("photo", pa.string(), nullable=False),
        pa.field("name", pa.binary()),
        pa.field("file", pa.binary(), nullable=False),
        pa.field("member", pa.binary()),
        pa.field("product", pa.string()),
    ]
)
GROUP = 2**14  # rows of a part that are read at a time


class Part(NamedTuple):
    """A part of a manifest: its first row, how many there are, and the file's SHA-256."""

    first: int
    rows: int
    sha256: str


class Entry(NamedTuple):
    """A row of a manifest: its number, and where the photo is."""

    row: int
    place: Place


def part_path(folder: Path, number: int) -> Path:
    """Return the file of a job's part."""
    return folder / "manifest" / f"part-{number:05}.parquet"


def write_part(path: Path, first: int, places: Iterable[Place]) -> Part:
    """Write a part; see `fashion.jobs.durable.replacing`.

    Args:
        path: Of the file, whose folder is made.
        first: The number of its first row.
        places: Where the photos are; what it raises is raised.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    row = first
    try:
        with replacing(path) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
            for group in _groups(places):
                writer.write_table(_table(row, group), row_group_size=GROUP)
                row += len(group)
    except _CannotListError as error:
        raise error.reason from None
    return Part(first, row - first, digest(path))


class _CannotListError(Exception):
    """Photos can't be listed, which is no error of the disk that is written to."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(reason)
        self.reason = reason


def _groups(places: Iterable[Place]) -> Iterator[list[Place]]:
    waiting = iter(places)
    try:
        while group := list(islice(waiting, GROUP)):
            yield group
    except OSError as error:
        raise _CannotListError(error) from error


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _table(first: int, places: list[Place]) -> pa.Table:
    told = [readable(place.name) for place in places]
    names = [
        None if place.name == photo else raw(place.name)
        for place, photo in zip(places, told, strict=True)
    ]
    files, members = zip(*map(raw_place, places), strict=True)
    products = [readable(place.product) or None for place in places]
    columns = [range(first, first + len(places)), told, names, files, members, products]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def raw(name: str) -> bytes:
    """Return a name's bytes, as the file system has them."""
    return name.encode("utf-8", "surrogateescape")


RawPlace = tuple[bytes, bytes | None]  # of a file, and of what is in it where that is a zip


def raw_place(place: Place) -> RawPlace:
    """Return where a photo lies, as a manifest has it."""
    return raw(place.file), None if place.member is None else raw(place.member)


def _text(cell: bytes) -> str:
    return cell.decode("utf-8", "surrogateescape")


class PartReader:
    """Reads rows of a part; those read last are kept, since the next ones lie near.

    Args:
        path: Of the file.
        first: Its first row.
    """

    def __init__(self, path: Path, first: int) -> None:
        self._file = pq.ParquetFile(path)
        self._first = first
        self._group, self._rows = -1, pa.table({})

    def read(self, first: int, count: int) -> list[Entry]:
        """Return rows by their numbers, all of which are in the part."""
        entries: list[Entry] = []
        place, end = first - self._first, first - self._first + count
        while place < end:
            group, start = divmod(place, GROUP)
            if group != self._group:
                self._group, self._rows = group, self._file.read_row_group(group)
            rows = self._rows.slice(start, end - place)
            entries += _entries(rows)
            place += rows.num_rows
        return entries

    def names(self) -> Iterator[str]:
        """Yield the photos' names in turn."""
        for batch in self._file.iter_batches(GROUP, columns=["photo", "name"]):
            for photo, name in zip(*(c.to_pylist() for c in batch.columns), strict=True):
                yield photo if name is None else _text(name)

    def files(self) -> Iterator[RawPlace]:
        """Yield where each photo lies in turn."""
        for batch in self._file.iter_batches(GROUP, columns=["file", "member"]):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _entries(rows: pa.Table) -> list[Entry]:
    cells = zip(*(column.to_pylist() for column in rows.columns), strict=True)
    return [
        Entry(
            row,
            Place(
                photo if name is None else _text(name),
                _text(file),
                None if member is None else _text(member),
                product or "",
            ),
        )
        for row, photo, name, file, member, product in cells
    ]
