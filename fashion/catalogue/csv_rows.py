"""The numbered rows of a CSV file that a person wrote: a catalogue's table, or a list of photos.

It may come from any spreadsheet: with commas, semicolons or tabs, with Excel's line `sep=`, in
UTF-8 or UTF-16 by its mark, in another encoding when that is named.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple

from fashion.catalogue.labels import clean_text

DELIMITERS = (",", ";", "\t")  # those that are told from a header
NAMED_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|"}
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
OTHER_FILES = {
    b"PK\x03\x04": "an Excel workbook or another zip",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x1f\x8b": "packed with gzip",
}
CELL_LIMIT = 2**31 - 1  # characters, as many as csv takes on any system
HEAD = 20  # lines that a header is looked for in
BATCH = 100  # rows that are looked at together: their cells stay in the caches
END = "\0\0\0"  # a last line for the parser: what it stands in isn't closed
BREAK = re.compile(r"\r\n|\r|\n")
SEP_LINE = re.compile(r'"?sep=(.)"?[,;\s]*', re.IGNORECASE)


@dataclass(frozen=True)
class CsvForm:
    """How a table is written, where its bytes don't tell.

    Attributes:
        delimiter: One character; None: comma, semicolon or tab, as the header shows.
        encoding: Of a file that begins with no mark; None is UTF-8.
    """

    delimiter: str | None = None
    encoding: str | None = None


class Row(NamedTuple):
    """One row.

    Attributes:
        line: That it begins in, 1 being the file's first.
        fields: Its cells.
        is_open: The file ends inside a quote of its last cell.
    """

    line: int
    fields: list[str]
    is_open: bool = False


@dataclass
class Batch:
    """Rows that follow each other.

    Attributes:
        lines: That each begins in.
        fields: The cells of each.
        long: The places, in this batch, of the rows that take several lines.
        is_open: The file ends inside a quote of the last one.
    """

    lines: list[int] = field(default_factory=list)
    fields: list[list[str]] = field(default_factory=list)
    long: list[int] = field(default_factory=list)
    is_open: bool = False

    def row(self, place: int) -> Row:
        """Return one of them."""
        is_open = self.is_open and place == len(self.lines) - 1
        return Row(self.lines[place], self.fields[place], is_open)


def parse_delimiter(typed: str | None) -> str | None:
    """Return the character that `data.delimiter` means.

    Raises:
        ValueError: It means none.
    """
    character = NAMED_DELIMITERS.get(str(typed).lower(), typed)
    if character is not None and (len(character) != 1 or character in '"\r\n\0'):
        raise ValueError(
            f"data.delimiter={typed!r}: pass one character, or comma, semicolon, tab or pipe; null "
            "tells commas, semicolons and tabs from the header."
        )
    return character


def check_encoding(encoding: str | None) -> None:
    """Check that `data.encoding` is one.

    Raises:
        ValueError: Python knows none of that name.
    """
    try:
        "".encode(encoding or "utf-8")
    except (LookupError, UnicodeError) as error:
        raise ValueError(
            f"data.encoding={encoding!r} is unknown; pass utf-8, utf-16, cp1252 (Western Windows), "
            "cp1250, cp1251, shift_jis, gb18030 or another of Python's encodings."
        ) from error


@dataclass(frozen=True)
class CsvTable:
    """A table that is being read.

    Attributes:
        header: The names of the columns, cleaned; none in an empty file.
        batches: The rows, read as they are asked for. A blank line is no row.
        delimiter: Between the cells.
    """

    header: list[str]
    batches: Iterator[Batch]
    delimiter: str

    @property
    def rows(self) -> Iterator[Row]:
        """The rows one by one."""
        return (batch.row(place) for batch in self.batches for place in range(len(batch.lines)))

    def swallowed(self, row: Row) -> Iterator[list[str]]:
        """Yield the lines inside a row's cells that have as many cells as the header themselves.

        Either a text just has these commas, or a quote that isn't closed holds the rows after it.
        """
        width = len(self.header)
        for cell in row.fields:
            for line in cell.splitlines()[1:] if "\n" in cell or "\r" in cell else ():
                if line.count(self.delimiter) >= width - 1 >= 1:
                    fields = next(csv.reader([line], delimiter=self.delimiter), [])
                    if len(fields) == width:
                        yield fields


@contextmanager
def open_rows(
    open_file: Callable[[], io.BufferedReader],
    subject: str,
    wanted: Sequence[str] = (),
    form: CsvForm | None = None,
) -> Iterator[CsvTable]:
    """Open a table.

    Args:
        open_file: Opens it.
        subject: What sentences begin with: the key, its value and the file.
        wanted: Columns that the header should have, by which its delimiter is told.
        form: What is known of it.

    Raises:
        ValueError: It is no such table, or can't be read; so may asking for a row.
    """
    form = form or CsvForm()
    csv.field_size_limit(CELL_LIMIT)
    try:
        with open_file() as file:
            encoding, is_said = _encoding_of(file.peek(64)[:64], subject, form.encoding)
            text = io.TextIOWrapper(file, encoding, newline="")
            lines = _decoded(text, subject, is_said)
            head = list(islice(lines, HEAD))
            marked = SEP_LINE.fullmatch(head[0]) if head else None
            if marked:
                del head[0]
            names = [clean_text(name) for name in wanted]
            delimiter = form.delimiter or (marked and marked[1]) or _delimiter_of(head, names)
            reader = _Reader(chain(head, lines), delimiter, subject, 2 if marked else 1)
            header = [clean_text(name) for name in reader.header()]
            yield CsvTable(header, reader.batches(), delimiter)
    except OSError as error:
        raise ValueError(f"{subject} can't be read ({error}).") from error


def _encoding_of(start: bytes, subject: str, said: str | None) -> tuple[str, bool]:
    """Return the encoding of a file that begins so, and whether it is the one that was said."""
    kind = next((kind for mark, kind in OTHER_FILES.items() if start.startswith(mark)), None)
    if kind:
        raise ValueError(f"{subject} is {kind}, not a CSV table. Save it as CSV UTF-8.")
    marked = next((name for mark, name in MARKS if start.startswith(mark)), None)
    if marked or said:
        return marked or str(said), not marked
    if start.count(0) > len(start) // 4:
        order = "le" if start[1::2].count(0) > start[::2].count(0) else "be"
        raise ValueError(
            f"{subject} is not UTF-8, but looks like UTF-16 without a mark. Pass "
            f"data.encoding=utf-16-{order}, or save it as CSV UTF-8."
        )
    return "utf-8", False


def _decoded(text: io.TextIOWrapper, subject: str, is_said: bool) -> Iterator[str]:
    """Yield the lines of a file."""
    number = 0
    try:
        for line in text:
            number += 1
            yield line
    except UnicodeError as error:
        raise ValueError(_not_of(text.encoding, is_said, number, subject, error)) from error


def _not_of(name: str, is_said: bool, lines: int, subject: str, error: UnicodeError) -> str:
    """Return the sentence for bytes that are no text of an encoding; some lines were."""
    where = f"after line {lines}"
    if isinstance(error, UnicodeDecodeError):
        inside = error.object[: error.start].count(b"\n")
        byte = error.object[error.start : error.start + 1].hex().upper()
        where = f"line {lines + inside + 1} has the byte 0x{byte}"
    if is_said:
        return f"{subject} is not {name}, as data.encoding says: {where}. Pass another."
    return (
        f"{subject} is not {name.upper().removesuffix('-SIG')}: {where}. Save it as CSV "
        "UTF-8, or pass data.encoding=<its own>, such as cp1252 for Western Windows."
    )


def _delimiter_of(head: list[str], wanted: list[str]) -> str:
    """Return the delimiter by which a header has most of the columns wanted, then most columns."""

    def columns(delimiter: str) -> tuple[int, int]:
        rows = csv.reader(head, delimiter=delimiter)
        header = [clean_text(name) for name in next((r for r in rows if not _is_blank(r)), [])]
        return sum(name in header for name in wanted), len(header)

    return max(DELIMITERS, key=columns)


def _is_blank(cells: list[str]) -> bool:
    """Return whether a row above the header holds nothing but delimiters, of whatever kind."""
    return not "".join(cells).strip(" ,;\t\r\n")


class _Reader:
    """Reads rows from lines, the first of which has a number."""

    def __init__(self, lines: Iterable[str], delimiter: str, subject: str, line: int) -> None:
        self._reader = csv.reader(chain(lines, [END]), delimiter=delimiter)
        self._subject = subject
        self._above = line - 1
        self._has_ended = False

    def header(self) -> list[str]:
        """Return the first row that isn't blank; an empty one at the end."""
        while not self._has_ended:
            for cells in self._take(1).fields:
                if not _is_blank(cells):
                    return cells
        return []

    def batches(self) -> Iterator[Batch]:
        """Yield the rows that are left."""
        while not self._has_ended:
            yield self._take(BATCH)

    def _take(self, number: int) -> Batch:
        first, before = self._above + self._reader.line_num + 1, self._reader.line_num
        try:
            fields = list(islice(self._reader, number))
        except csv.Error as error:
            raise ValueError(
                f"{self._subject} is not a CSV table ({error}). Save it with commas and closed "
                "quotes."
            ) from error
        if self._reader.line_num - before == len(fields) and all(fields):
            batch = Batch(list(range(first, first + len(fields))), fields)
        else:
            batch = _located(fields, first)
        if batch.fields and batch.fields[-1][-1].endswith(END):
            self._has_ended = True
            self._end(batch)
        return batch

    def _end(self, batch: Batch) -> None:
        """Take the end out of the last row, whose quote isn't closed if anything else is in it."""
        fields = batch.fields[-1]
        fields[-1] = fields[-1].removesuffix(END)
        if fields == [""]:
            del batch.fields[-1], batch.lines[-1]
            return
        batch.is_open = True
        swallowed = sum(1 for line in fields[-1].splitlines()[1:] if line.strip())
        if swallowed:
            raise ValueError(unclosed(self._subject, batch.lines[-1], swallowed))


def _located(rows: list[list[str]], line: int) -> Batch:
    """Return rows with their lines, the first of which is given; blank ones are left out."""
    batch = Batch()
    for fields in rows:
        breaks = len(BREAK.findall("\0".join(fields)))
        if breaks:
            batch.long.append(len(batch.lines))
        if fields:
            batch.lines.append(line)
            batch.fields.append(fields)
        line += 1 + breaks
    return batch


def unclosed(subject: str, line: int, swallowed: int) -> str:
    """Return the sentence for a quote that isn't closed."""
    after = f"the {swallowed:,} lines" if swallowed > 1 else "the line"
    return (
        f"{subject}: a quote in line {line} is not closed and swallows {after} after it. Close or "
        "remove it."
    )
