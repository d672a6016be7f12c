"""A few numbers in a file that a worker shares with who watches it, also when it dies.

They tell which rows are being decoded, and how many of the task's photos are finished.
"""

import mmap
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import numpy as np

from fashion.locks import NoLocksError, alone, unless_used

PREFIX = "fashion-label-"


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Have a folder for files of shared numbers; those that killed processes left are deleted."""
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{PREFIX}*/"):
        # Another user's can't be deleted; of a disk without locks nobody can tell whose it is.
        with suppress(NoLocksError), unless_used(left, []) as is_free:
            if is_free:
                shutil.rmtree(left, ignore_errors=True)
    folder = place / f"{PREFIX}{uuid4().hex}"
    with alone(folder, "the workers' folder"):
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class Slots:
    """The shared numbers.

    Args:
        path: Of the file, which is there.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._numbers = np.frombuffer(self._map, np.int64)

    @classmethod
    def create(cls, path: Path, threads: int) -> "Slots":
        """Make the file, for so many photos at a time."""
        path.write_bytes(bytes(8 * (1 + threads)))
        return cls(path)

    @property
    def finished(self) -> int:
        """How many photos of the task are finished."""
        return int(self._numbers[0])

    @finished.setter
    def finished(self, number: int) -> None:
        self._numbers[0] = number

    def __setitem__(self, slot: int, row: int | None) -> None:
        """Tell that a row is being decoded in a slot; None: none is."""
        self._numbers[1 + slot] = 0 if row is None else row + 1

    def rows(self) -> set[int]:
        """Return the rows that are being decoded."""
        return {int(number) - 1 for number in self._numbers[1:] if number}

    def clear(self) -> None:
        """Tell that nothing is being done."""
        self._numbers[:] = 0
