"""Find the photos in files, folders and zips."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

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


def find_photos(paths: Sequence[str | Path], zip_encoding: str | None = None) -> list[Photo]:
    """List the photos of files, folders and zips, those of each in the order of their names.

    What is passed over in them is logged.

    Args:
        paths: Where they are.
        zip_encoding: The code page of names in a zip that are no UTF-8.

    Raises:
        FileNotFoundError: A path doesn't exist, or there is no photo at all.
        ValueError: A zip is damaged, or of another kind.
    """
    photos = [photo for path in paths for photo in _photos_of(Path(path), zip_encoding)]
    if not photos:
        kinds = ", ".join(PHOTO_SUFFIXES)
        asked = ", ".join(repr(str(path)) for path in paths)
        raise FileNotFoundError(f"There is no photo ({kinds}) in {asked}.")
    return photos


def _photos_of(path: Path, zip_encoding: str | None) -> list[Photo]:
    path = path.expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{str(path)!r} does not exist; pass photo files, folders or zips.")
    if path.is_dir():
        return _photos_in(Folder(path), "")
    if path.suffix.lower() in ARCHIVE_SUFFIXES:
        return _photos_in(open_archive(path, zip_encoding), f"{path}/")
    return [Photo(str(path), partial(Folder(path.parent).read, str(path)))]


def _photos_in(files: Folder | Archive, prefix: str) -> list[Photo]:
    listed = list(files.names())
    chosen = [path for path in listed if files.is_photo(path)]
    for path in set(listed) - set(chosen):
        files.passed_over[str(path)] = "no photos"
    for note in describe_passed_over(files):
        log.warning("%s", note)
    names = sorted(map(str, chosen))
    return [Photo(f"{prefix}{name}", partial(files.read, name)) for name in names]
