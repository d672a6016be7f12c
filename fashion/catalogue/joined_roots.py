"""Two catalogues whose photos are read as those of one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from io import BufferedReader
from typing import TypeVar

import numpy as np

from fashion.catalogue.root import CatalogueRoot

MARK = "\0"  # before the names of the second one's photos; no file's name has it
T = TypeVar("T")


@dataclass(frozen=True)
class JoinedRoot(CatalogueRoot):
    """A catalogue that reads another's photos, too; all else is said of the first alone.

    Attributes:
        first: The catalogue.
        second: The other, whose photos are asked for by `mark`.
    """

    first: CatalogueRoot | None = None
    second: CatalogueRoot | None = None

    @classmethod
    def of(cls, first: CatalogueRoot, second: CatalogueRoot) -> "JoinedRoot":
        """Join two catalogues."""

        def stamp(name: str) -> str:
            return _ask(first.stamp, second.stamp, name)

        def read(name: str) -> bytes:
            return _ask(first.read, second.read, name)

        def open_file(name: str) -> BufferedReader:
            return _ask(first.open, second.open, name)

        of_first = {field.name: getattr(first, field.name) for field in fields(CatalogueRoot)}
        readers = {"stamp": stamp, "read": read, "open": open_file}
        return cls(**{**of_first, **readers}, first=first, second=second)

    def keys(self, photos: Iterable[str]) -> np.ndarray:
        """Return what tells photos apart, of each what its own catalogue returns."""
        assert self.first is not None
        assert self.second is not None
        names = list(photos)
        is_second = np.array([name.startswith(MARK) for name in names], bool)
        keys = np.empty(len(names), "V16")
        for chosen, root in ((~is_second, self.first), (is_second, self.second)):
            places = np.flatnonzero(chosen).tolist()
            keys[chosen] = root.keys(names[place].removeprefix(MARK) for place in places)
        return keys


def mark(name: str) -> str:
    """Return what `JoinedRoot` takes for a photo of the second catalogue."""
    return f"{MARK}{name}"


def _ask(first: Callable[[str], T], second: Callable[[str], T], name: str) -> T:
    return second(name.removeprefix(MARK)) if name.startswith(MARK) else first(name)
