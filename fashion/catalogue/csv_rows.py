"""The numbered rows of a CSV file that a person wrote: a catalogue's table, or a list of photos."""

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

Row = tuple[int, list[str]]  # the line that it begins in, 1 being the file's first, and its fields


@contextmanager
def open_rows(
    open_file: Callable[[], IO[bytes]], subject: str
) -> Iterator[tuple[list[str], Iterator[Row]]]:
    """Open a table, whose rows are read as they are asked for.

    Args:
        open_file: Opens it.
        subject: What sentences begin with: the key, its value and the file.

    Yields:
        The names of the columns, none in an empty file, and the rows. A blank line is no row.

    Raises:
        ValueError: It is no such table, or can't be read; so may asking for a row.
    """
    try:
        with io.TextIOWrapper(open_file(), encoding="utf-8-sig", newline="") as lines:
            rows = _numbered(lines)
            _, header = next(rows, (0, []))
            yield header, rows
    except UnicodeDecodeError as error:
        raise ValueError(f"{subject} is not UTF-8 ({error}). Save it as UTF-8.") from error
    except csv.Error as error:
        raise ValueError(
            f"{subject} is not a CSV table ({error}). Save it with commas and closed quotes."
        ) from error
    except OSError as error:
        raise ValueError(f"{subject} can't be read ({error}).") from error


def _numbered(lines: Iterator[str]) -> Iterator[Row]:
    reader = csv.reader(lines)
    line = 1
    for fields in reader:
        if fields:
            yield line, fields
        line = reader.line_num + 1
