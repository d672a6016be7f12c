"""From the bytes of a catalogue's table to the cells of its columns, row by row."""

import re
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from fashion.catalogue.csv_rows import CsvForm, CsvTable, Row, open_rows, unclosed
from fashion.catalogue.labels import clean_text
from fashion.catalogue.root import CatalogueRoot
from fashion.wording import did_you_mean

DROPPED_COLUMNS = ["line", "id", "label", "reason", "detail"]
MANY = 10_000  # values of a column, above which it is no attribute, nor worth a search for equals
UNKNOWN = 1_000  # lines inside cells that are looked at again once all labels are known


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns that a table is asked for; the keys `data.*_column` name them.

    Attributes:
        id: Names each row; None takes the photo's path.
        image: The photo's path; None: the photo is images/<id>.
        label: The column to classify by.
        others: Further columns that are kept whatever they hold, by the keys under `data` that name
            them.
    """

    id: str | None = "id"
    image: str | None = None
    label: str = "articleType"
    others: dict[str, str] = field(default_factory=dict)

    def by_key(self) -> dict[str, str]:
        """Return the names, cleaned, by their keys."""
        given = {"id_column": self.id, "image_column": self.image, "label_column": self.label}
        named = {**given, **self.others}
        return {key: clean_text(name) for key, name in named.items() if name is not None}


@dataclass(frozen=True)
class Cells:
    """What stands in a table.

    Attributes:
        columns: The well-formed rows by line, text: the columns asked for, and those of no more
            than `MANY` values. Of columns of one name, the second is called `name (2)`.
        hashes: One for each of them; the same for rows that are copies.
        dropped: The others, with the columns `DROPPED_COLUMNS`.
        malformed: The first of the malformed ones, in words.
    """

    columns: pd.DataFrame
    hashes: np.ndarray
    dropped: pd.DataFrame
    malformed: str


def read_cells(
    root: CatalogueRoot, columns: Columns, repair: bool, form: CsvForm | None = None
) -> Cells:
    """Read a catalogue's table once, row by row.

    Args:
        root: It has a table.
        columns: Those asked for.
        repair: Whether delimiters in the last cell, unquoted, are read as part of it.
        form: How the table is written.

    Raises:
        ValueError: It is no table, lacks a column or has no rows, or a quote isn't closed.
    """
    assert root.csv_name is not None
    asked = columns.by_key()
    subject = f"data.root={str(root.path)!r}: {root.table_name}"
    open_file = partial(root.open, root.csv_name)
    with open_rows(open_file, subject, list(asked.values()), form) as table:
        if not table.header:
            raise ValueError(f"{subject} has no rows.")
        _check_header(table.header, asked, f"{root.table_name} of data.root={str(root.path)!r}")
        reading = _Reading(table, asked, repair)
        for row in table.rows:
            reading.add(row)
    reading.check_quotes(root, subject)
    cells = reading.cells()
    if cells.columns.empty and cells.malformed:
        raise ValueError(
            f"{subject}: all {reading.count:,} rows are malformed: {cells.malformed}. "
            "data.malformed_rows=repair reads rows with more fields than the header."
        )
    if cells.columns.empty:
        raise ValueError(f"{subject} has no rows.")
    return cells


def _check_header(header: list[str], asked: dict[str, str], where: str) -> None:
    for key, column in asked.items():
        places = [str(place) for place, name in enumerate(header, 1) if name == column]
        if not places:
            raise ValueError(
                f"data.{key}={column!r}: {where} has no column {column!r}"
                f"{did_you_mean(column, header, quoted=True)}; its columns are "
                f"{', '.join(header)}.{_hint(header)}"
            )
        if len(places) > 1:
            raise ValueError(
                f"data.{key}={column!r}: {where} has {len(places)} columns {column!r}, at the "
                f"places {' and '.join(places)}. Rename all but one."
            )


def _hint(header: list[str]) -> str:
    """Return what to do about a missing column, where that can be guessed."""
    if len(header) == 1 and re.search(r"[^\w\s]", header[0]):
        return " If another character than comma, semicolon or tab parts them: data.delimiter=<it>."
    return ""


class _Column:
    """The cells of a column; equal ones share one text as long as there are not too many."""

    def __init__(self, is_asked: bool) -> None:
        self.is_asked = is_asked
        self.cells: list[str] = []
        self.texts: dict[str, str] = {}

    def add(self, cell: str) -> bool:
        """Add a cell; return whether the column is still worth keeping."""
        if len(self.texts) <= MANY:
            cell = self.texts.setdefault(cell, cell)
        self.cells.append(cell)
        return self.is_asked or len(self.texts) <= MANY


class _Reading:
    """The rows of a table as they come in."""

    def __init__(self, table: CsvTable, asked: dict[str, str], repair: bool) -> None:
        self.count = 0
        self._table, self._repair = table, repair
        self._places = {key: table.header.index(name) for key, name in asked.items()}
        kept = set(self._places.values())
        names = _told_apart(table.header)
        self._columns = [(i, name, _Column(i in kept)) for i, name in enumerate(names)]
        self._labels = self._columns[self._places["label_column"]][2].texts
        self._lines, self._hashes = array("q"), array("q")
        self._bad: list[tuple[int, str, str, str, str]] = []
        self._malformed = ""
        self._swallowed: list[tuple[Row, list[str]]] = []

    def add(self, row: Row) -> None:
        """Take a row in."""
        self.count += 1
        for inner in self._table.swallowed(row):
            if len(self._swallowed) < UNKNOWN or self._label_of(inner) in self._labels:
                self._swallowed.append((row, inner))
        if not any(map(str.strip, row.fields)):
            self._bad.append((row.line, "", "", "empty row", ""))
            return
        fields = self._repaired(row.fields) if self._repair else row.fields
        if row.is_open or len(fields) != len(self._table.header):
            self._add_malformed(row)
            return
        self._lines.append(row.line)
        self._hashes.append(hash(tuple(fields)))
        full = [name for place, name, column in self._columns if not column.add(fields[place])]
        if full:
            self._columns = [each for each in self._columns if each[1] not in full]

    def check_quotes(self, root: CatalogueRoot, subject: str) -> None:
        """Refuse a table in which a quote that isn't closed holds whole rows.

        Such a line has a label that other rows have, and a photo or an id of digits like theirs;
        the lines of a description don't.

        Raises:
            ValueError: The sentence names the line.
        """
        shapes: set[str] = set()
        for row, inner in self._swallowed:
            if self._label_of(inner).strip() and self._label_of(inner) in self._labels:
                shapes = shapes or set(map(_shape, self._ids()))
                id_ = inner[self._id_place].strip()
                has_photo = (
                    root.find(id_) if "image_column" in self._places else root.photos.get(id_)
                )
                if has_photo or ("9" in _shape(id_) and _shape(id_) in shapes):
                    num_lines = max(len(cell.splitlines()) for cell in row.fields) - 1
                    raise ValueError(unclosed(subject, row.line, num_lines))

    def cells(self) -> Cells:
        """Return all that came in."""
        lines = pd.Index(np.asarray(self._lines), name="line")
        cells = {name: column.cells for _, name, column in self._columns}
        return Cells(
            columns=pd.DataFrame(cells, index=lines),
            hashes=np.asarray(self._hashes),
            dropped=pd.DataFrame(self._bad, columns=DROPPED_COLUMNS),
            malformed=self._malformed,
        )

    @property
    def _id_place(self) -> int:
        return self._places.get("id_column", self._places.get("image_column", 0))

    def _ids(self) -> Iterable[str]:
        return next(column.cells for place, _, column in self._columns if place == self._id_place)

    def _label_of(self, fields: list[str]) -> str:
        return fields[self._places["label_column"]]

    def _repaired(self, fields: list[str]) -> list[str]:
        """Return a row whose surplus cells are part of the last one, or nothing if empty."""
        width = len(self._table.header)
        while len(fields) > width and not fields[-1].strip():
            fields = fields[:-1]
        if len(fields) <= width:
            return fields
        return [*fields[: width - 1], self._table.delimiter.join(fields[width - 1 :])]

    def _add_malformed(self, row: Row) -> None:
        fields, header = row.fields, self._table.header
        id_ = fields[self._id_place] if len(fields) > self._id_place else ""
        fault = f"{len(fields)} fields, not {len(header)}"
        if row.is_open:
            fault = "the file ends inside a quote"
        self._bad.append((row.line, id_, "", "malformed", fault))
        self._malformed = self._malformed or _compared(row, header)


def _told_apart(header: list[str]) -> list[str]:
    """Return the names of columns, those that come again with their number."""
    seen: Counter[str] = Counter()
    names = []
    for name in header:
        seen[name] += 1
        names.append(f"{name} ({seen[name]})" if seen[name] > 1 else name)
    return names


def _shape(id_: str) -> str:
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", id_.strip()))


def _compared(row: Row, header: list[str]) -> str:
    """Return a malformed row beside the header, in words."""

    def shown(cells: list[str]) -> str:
        return ", ".join(repr(cell[:20]) for cell in cells[:6]) + (", …" if len(cells) > 6 else "")

    text = (
        f"line {row.line} has {len(row.fields)} fields ({shown(row.fields)}), the header "
        f"{len(header)} ({shown(header)})"
    )
    if len(row.fields) > len(header) and not any(map(str.strip, row.fields[len(header) :])):
        text += "; the row ends in delimiters that the header lacks"
    return text
