"""Find the photos in files, folders and zips."""

import hashlib
import logging
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, overload

from fashion.catalogue.archives import Archive
from fashion.catalogue.containers import Folder
from fashion.catalogue.listing import PHOTO_SUFFIXES
from fashion.catalogue.root import describe_passed_over, open_archive

ARCHIVE_SUFFIXES = (".zip", ".rar", ".7z", ".tar", ".tgz", ".gz", ".xz", ".bz2")  # the first alone
log = logging.getLogger(__name__)


class Photo(NamedTuple):
    """A photo that may be read.

    Attributes:
        name: Its path; in a zip the zip's and its own.
        read: Returns the file's content. Raises OSError or ValueError when it can't be read.
    """

    name: str
    read: Callable[[], bytes]


class Place(NamedTuple):
    """Where a photo lies.

    Attributes:
        name: As `Photo.name`.
        file: The absolute path of its file, or of the zip that it is in.
        member: Its name in the zip; None where it is a file.
        product: The name of what it shows, empty where nobody tells.
    """

    name: str
    file: str
    member: str | None = None
    product: str = ""


class _Source(NamedTuple):
    files: Folder | Archive
    zip: Path | None
    prefix: str  # what its names are told with
    names: list[str]  # as `files` reads them


class PhotoList(Sequence[Photo]):
    """Photos of several sources, of which the names alone are kept: there may be a million.

    Args:
        sources: In their order.
    """

    def __init__(self, sources: Iterable[_Source]) -> None:
        self._sources = list(sources)
        self._ends = list(accumulate(len(source.names) for source in self._sources))

    def __len__(self) -> int:
        """Return how many there are."""
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> Photo: ...
    @overload
    def __getitem__(self, place: slice) -> list[Photo]: ...
    def __getitem__(self, place: int | slice) -> Photo | list[Photo]:
        """Return one, or some in a list."""
        if isinstance(place, slice):
            return [self[each] for each in range(len(self))[place]]
        place = range(len(self))[place]
        number = bisect_right(self._ends, place)
        files, _, prefix, names = self._sources[number]
        name = names[place - self._ends[number]]  # counted from the source's end
        return Photo(f"{prefix}{name}", partial(files.read, name))

    def names(self) -> Iterator[str]:
        """Yield their names in turn."""
        for _, _, prefix, names in self._sources:
            yield from (f"{prefix}{name}" for name in names)

    def places(self) -> Iterator[Place]:
        """Yield where they lie in turn."""
        here = os.getcwd()
        for _, zip_path, prefix, names in self._sources:
            if zip_path is not None:
                path = os.path.join(here, zip_path)
                yield from (Place(f"{prefix}{name}", path, name) for name in names)
            else:
                yield from (Place(name, os.path.join(here, name)) for name in names)

    def digest(self) -> str:
        """Return what changes with their names, their order and, as far as is told, contents."""
        digest = hashlib.sha256()
        for files, _, prefix, names in self._sources:
            for name in names:
                line = f"{prefix}{name}\0{files.stamp(name)}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def find_photos(paths: Sequence[str | Path], zip_encoding: str | None = None) -> PhotoList:
    """List the photos of files, folders and zips, those of each in the order of their names.

    What is passed over in them is logged.

    Args:
        paths: Where they are.
        zip_encoding: The code page of names in a zip that are no UTF-8.

    Raises:
        FileNotFoundError: A path doesn't exist, or there is no photo at all.
        ValueError: A zip is damaged, or of another kind.
    """
    photos = PhotoList(_source(Path(path), zip_encoding) for path in paths)
    if not photos:
        kinds = ", ".join(PHOTO_SUFFIXES)
        asked = ", ".join(repr(str(path)) for path in paths)
        raise FileNotFoundError(f"There is no photo ({kinds}) in {asked}.")
    return photos


def _source(path: Path, zip_encoding: str | None) -> _Source:
    path = path.expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{str(path)!r} does not exist; pass photo files, folders or zips.")
    if path.is_dir():
        return _listed(Folder(path))
    if path.suffix.lower() in ARCHIVE_SUFFIXES:
        return _listed(open_archive(path, zip_encoding), path)
    return _Source(Folder(path.parent), None, "", [str(path)])


def _listed(files: Folder | Archive, zip_path: Path | None = None) -> _Source:
    names = []
    for path in files.names():
        if files.is_photo(path):
            names.append(str(path))
        else:
            files.passed_over[str(path)] = "no photos"
    for note in describe_passed_over(files):
        log.warning("%s", note)
    prefix = "" if zip_path is None else f"{zip_path}/"
    return _Source(files, zip_path, prefix, sorted(names))
