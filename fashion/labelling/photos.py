"""Find the photos in files, folders and zips."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fashion.catalogue.containers import PHOTO_SUFFIXES, Archive, Folder, is_photo


class Photo(NamedTuple):
    """A photo that may be read.

    Attributes:
        name: Its path; in a zip the zip's and its own.
        read: Returns the file's content. Raises OSError or ValueError when it can't be read.
    """

    name: str
    read: Callable[[], bytes]


def find_photos(paths: Sequence[str | Path]) -> list[Photo]:
    """List the photos of files, folders and zips, those of each in the order of their names.

    Raises:
        FileNotFoundError: A path doesn't exist, or there is no photo at all.
        ValueError: A zip is damaged.
    """
    photos = [photo for path in paths for photo in _photos_of(Path(path))]
    if not photos:
        kinds = ", ".join(PHOTO_SUFFIXES)
        asked = ", ".join(repr(str(path)) for path in paths)
        raise FileNotFoundError(f"There is no photo ({kinds}) in {asked}.")
    return photos


def _photos_of(path: Path) -> list[Photo]:
    if not path.exists():
        raise FileNotFoundError(f"{str(path)!r} does not exist; pass photo files, folders or zips.")
    if path.is_dir():
        folder = Folder(path)
        files = [str(file) for file in sorted(folder.names()) if is_photo(file.name)]
        return [Photo(file, partial(folder.read, file)) for file in files]
    if path.suffix.lower() == ".zip":
        return _photos_in_zip(path)
    return [Photo(str(path), path.read_bytes)]


def _photos_in_zip(path: Path) -> list[Photo]:
    try:
        archive = Archive(path)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not a complete zip file ({error}).") from error
    names = [str(name) for name in archive.names() if is_photo(name.name)]
    return [Photo(f"{path}/{name}", partial(archive.read, name)) for name in names]
