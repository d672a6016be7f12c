"""A CSV that grows batch by batch, and goes on where a killed process has left it.

Until it is whole, the rows of `NAME` are in `NAME.part`, and `NAME.part.json` says what they are
of.
"""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from fashion.files import write_all, write_file
from fashion.labelling.labels_table import csv_bytes
from fashion.locks import NoLocksError, unless_used


class Kept(NamedTuple):
    """A row that was written before, and where it ends in the file."""

    cells: list[str]
    end: int


class UnfinishedTable:
    """The file that rows are added to.

    Args:
        path: Of the table that it is to become; its folder is there.
        columns: The names of the columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.facts_path = path.with_name(f"{path.name}.part.json")
        self.columns = list(columns)
        self._file: FileIO | None = None

    @contextmanager
    def open(self, facts: Mapping[str, object], *, restart: bool = False) -> Iterator[None]:
        """Have the file for this process alone, and make it the table when the block ends well.

        Args:
            facts: What the rows are of, by what it is called in a sentence.
            restart: Drop rows that are there.

        Raises:
            ValueError: Another process has it, or the rows that are there are of something else.
        """
        with ExitStack() as stack:
            self._lock(stack)
            if restart:
                self.part.unlink(missing_ok=True)
            self._check(facts)
            write_file(self.facts_path, json.dumps(facts))
            self._file = FileIO(os.open(self.part, os.O_RDWR | os.O_CREAT, 0o666), "r+")
            stack.enter_context(self._file)
            yield
            os.fsync(self._file.fileno())
            self._file.close()
            self.part.replace(self.path)
            self.facts_path.unlink(missing_ok=True)

    def kept(self) -> Iterator[Kept]:
        """Yield the rows that are there and whole; one that was being written is not."""
        ends = 0
        line = b""

        def lines() -> Iterator[str]:
            nonlocal ends, line
            for line in file:
                ends += len(line)
                yield line.decode("utf-8", "surrogateescape")

        if not self.part.is_file():
            return
        with self.part.open("rb") as file:
            rows = csv.reader(lines(), strict=True)
            try:
                if next(rows, None) != self.columns:
                    return
                for cells in rows:
                    if not line.endswith(b"\r\n") or len(cells) != len(self.columns):
                        return
                    yield Kept(cells, ends)
            except csv.Error:  # the end of the file is that of no row
                return

    def go_on_from(self, end: int) -> None:
        """Drop what lies behind the row that ends there; 0: all of it."""
        assert self._file is not None
        self._file.truncate(end)
        self._file.seek(end)
        if end == 0:
            self.add([self.columns])

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        """Write rows, which stay when this process is killed."""
        assert self._file is not None
        write_all(self._file, memoryview(csv_bytes(rows)))

    def _lock(self, stack: ExitStack) -> None:
        try:
            is_free = stack.enter_context(unless_used(self.part, ()))
        except NoLocksError:  # nobody can tell
            return
        if not is_free:
            raise ValueError(
                f"output={str(self.path)!r}: another process is writing it. Wait for it, or pass "
                "another output."
            )

    def _check(self, facts: Mapping[str, object]) -> None:
        if not self.part.is_file() or not self._holds_rows():
            return
        try:
            before = dict(json.loads(self.facts_path.read_bytes()))
        except (OSError, ValueError, TypeError):
            before = {}
        others = [what for what, fact in facts.items() if before.get(what) != fact]
        if others:
            raise ValueError(
                f"{str(self.part)!r} holds labels that a run with other {' and '.join(others)} has "
                "left. Type that run's words to go on with it, pass another output, or "
                "restart=true to drop them."
            )

    def _holds_rows(self) -> bool:
        with self.part.open("rb") as file:
            return len(file.readlines(2**16)) > 1
