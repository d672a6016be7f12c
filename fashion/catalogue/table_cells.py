"""From the bytes of a catalogue's table to the cells of its columns, row by row."""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from fashion.catalogue.csv_rows import Batch, CsvForm, CsvTable, Row, open_rows, unclosed
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
        columns: The well-formed rows by line: the columns asked for, and those of no more than
            `MANY` values. Those are categories, text alone the others. Of columns of one name, the
            second is called `name (2)`.
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
    """Read a catalogue's table once.

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
        for batch in table.batches:
            reading.add(batch)
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
    """The cells of a column: as places among its texts, as long as those are not too many."""

    def __init__(self, is_asked: bool) -> None:
        self.is_asked = is_asked
        self.texts: dict[str, int] = {}
        self._places = array("i")
        self._cells: list[str] | None = None

    def add(self, cells: Sequence[str]) -> bool:
        """Add some cells; return whether the column is still worth keeping."""
        if self._cells is not None:
            self._cells.extend(cells)
            return True
        places = list(map(self.texts.get, cells))
        if None in places:
            for text in dict.fromkeys(cells):
                self.texts.setdefault(text, len(self.texts))
            places = [self.texts[cell] for cell in cells]
        self._places.extend(places)  # type: ignore[arg-type]
        if len(self.texts) > MANY and self.is_asked:
            self._cells = self.strings()
        return self.is_asked or len(self.texts) <= MANY

    def strings(self) -> list[str]:
        """Return the text of each cell."""
        if self._cells is not None:
            return self._cells
        texts = list(self.texts)
        return [texts[place] for place in self._places]

    def values(self) -> "list[str] | pd.Categorical[str]":
        """Return the cells as they are to be kept."""
        if self._cells is not None:
            return self._cells
        return pd.Categorical.from_codes(np.asarray(self._places), pd.Index(list(self.texts)))


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

    def add(self, batch: Batch) -> None:
        """Take some rows in."""
        self.count += len(batch.lines)
        lines, fields, odd = batch.lines, batch.fields, self._odd(batch)
        if odd:
            judged = {place: self._judged(batch.row(place)) for place in odd}
            kept = [place for place in range(len(lines)) if judged.get(place, True)]
            lines = [lines[place] for place in kept]
            fields = [judged.get(place) or fields[place] for place in kept]
        if fields:
            self._keep(lines, fields)
        for place in odd:
            self._look_into(batch.row(place))

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
        cells = {name: column.values() for _, name, column in self._columns}
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
        columns = (column for place, _, column in self._columns if place == self._id_place)
        return next(columns).strings()

    def _odd(self, batch: Batch) -> list[int]:
        """Return the places of rows that have to be looked at one by one."""
        width, odd = len(self._table.header), {*batch.long}
        firsts = [fields[0].strip() for fields in batch.fields]
        if "" in firsts or {*map(len, batch.fields)} != {width}:
            odd |= {
                place
                for place, fields in enumerate(batch.fields)
                if len(fields) != width or not firsts[place]
            }
        return sorted(odd | {len(batch.lines) - 1} if batch.is_open else odd)

    def _judged(self, row: Row) -> list[str] | None:
        """Return the cells of a row, or note why it is none."""
        if not any(map(str.strip, row.fields)):
            self._bad.append((row.line, "", "", "empty row", ""))
            return None
        fields = self._repaired(row.fields) if self._repair else row.fields
        if row.is_open or len(fields) != len(self._table.header):
            self._add_malformed(row)
            return None
        return fields

    def _keep(self, lines: list[int], fields: list[list[str]]) -> None:
        self._lines.extend(lines)
        self._hashes.extend(map(hash, map(tuple, fields)))
        cells = list(zip(*fields, strict=True))
        self._columns = [each for each in self._columns if each[2].add(cells[each[0]])]

    def _look_into(self, row: Row) -> None:
        """Note the lines in a row's cells that may be rows."""
        for inner in self._table.swallowed(row):
            if len(self._swallowed) < UNKNOWN or self._label_of(inner) in self._labels:
                self._swallowed.append((row, inner))

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
