"""A folder or a zip of files, listed and read alike."""

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_FILE_BYTES = 256 * 2**20
MAX_RATIO = 200  # how many times its packed size a file in a zip may have
SMALL_BYTES = 2**20  # below which it may have any ratio
DAMAGES = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError)


def is_photo(name: str) -> bool:
    """Return whether a file is a photo by its ending."""
    return name.lower().endswith(PHOTO_SUFFIXES)


def stays_inside(name: str) -> bool:
    """Return whether a path that a file names is a plain relative one."""
    path = PurePosixPath(name)
    return not (
        path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts
    )


class Folder:
    """The files in a folder; the name of one is its path.

    Attributes:
        top: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.top = path

    def names(self, skipped: Collection[str] = ()) -> Iterator[Path]:
        """List the files, but those in hidden folders, macOS's own and some others.

        Args:
            skipped: Names of folders that aren't looked into.
        """
        for parent, folders, files in os.walk(self.top):
            folders[:] = sorted(name for name in folders if _is_listed(name, skipped))
            yield from (Path(parent, name) for name in sorted(files))

    def names_in(self, folder: PurePath) -> list[str]:
        """Return the sorted names, without the path, of the files right in one folder."""
        entries = os.scandir(folder) if os.path.isdir(folder) else ()
        return sorted(entry.name for entry in entries if entry.is_file())

    def holds(self, name: str) -> bool:
        """Return whether there is a file of a name."""
        return os.path.isfile(name)

    def digest(self, name: str) -> str:
        """Return a text that is the same for files of the same content."""
        with Path(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def stamp(self, name: str) -> str:
        """Return a text that changes when a file's content does: size and modification time."""
        try:
            stat = os.stat(name)
        except OSError:  # gone since the folder was listed; reading it says so
            return "gone"
        return f"{stat.st_size}:{stat.st_mtime_ns}"

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: It can't be read.
            ValueError: It is larger than `MAX_FILE_BYTES`.
        """
        _check_size(os.path.getsize(name))
        return Path(name).read_bytes()

    def open(self, name: str) -> io.BufferedReader:
        """Open a file of any size, to be read in parts.

        Raises:
            OSError: It can't be read.
        """
        return Path(name).open("rb")


class Archive:
    """The files in a zip, which isn't unpacked; the name of one is its path in the zip.

    Attributes:
        top: Empty, so that it joins with names as a folder does.

    Raises:
        ValueError: It is no complete zip; the text says why.
    """

    def __init__(self, path: Path) -> None:
        self.top = PurePosixPath()
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(str(error)) from error
        self._entries = {
            str(PurePosixPath(info.filename)): info
            for info in self._zip.infolist()
            if not info.is_dir()
        }

    def names(self, skipped: Collection[str] = ()) -> Iterator[PurePosixPath]:
        """List the files, sorted, but those in hidden folders, macOS's own and some others.

        Args:
            skipped: Names of folders that aren't looked into.
        """
        for path in map(PurePosixPath, sorted(self._entries)):
            if all(_is_listed(folder, skipped) for folder in path.parts[:-1]):
                yield path

    def names_in(self, folder: PurePath) -> list[str]:
        """Return the sorted names, without the path, of the files right in one folder."""
        return [path.name for path in self.names() if path.parent == folder]

    def names_outside(self) -> list[str]:
        """Return the names that would leave the folder that the zip were unpacked into."""
        return [name for name in self._entries if not stays_inside(name)]

    def holds(self, name: str) -> bool:
        """Return whether there is a file of a name."""
        return name in self._entries

    def digest(self, name: str) -> str:
        """Return a text that is the same for files of the same content."""
        return f"{self._entries[name].CRC:08x}"

    def stamp(self, name: str) -> str:
        """Return a text that changes when a file's content does: size and checksum."""
        return f"{self._entries[name].file_size}:{self.digest(name)}"

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            ValueError: The entry is damaged, encrypted or larger than `MAX_FILE_BYTES`.
        """
        _check_size(self._entries[name].file_size)
        try:
            return self._zip.read(self._entries[name])
        except DAMAGES as error:
            raise ValueError(f"damaged zip entry: {error}") from error

    def open(self, name: str) -> io.BufferedReader:
        """Open a file of any size, to be read in parts.

        Raises:
            OSError: The entry is damaged, encrypted, or larger than `MAX_RATIO` times its packed
                size. Reading it raises this, too.
        """
        entry = self._entries[name]
        if entry.file_size > max(SMALL_BYTES, MAX_RATIO * entry.compress_size):
            raise OSError(
                f"its {entry.file_size:,} bytes are packed into {entry.compress_size:,}, more than "
                f"{MAX_RATIO} to one; unpack the zip if you trust it, and pass the folder"
            )
        try:
            return io.BufferedReader(_Unpacked(self._zip.open(entry)))
        except DAMAGES as error:
            raise OSError(f"damaged zip entry, fetch it again: {error}") from error


class _Unpacked(io.RawIOBase):
    """A file in a zip that is read in parts; damages are told as `Archive.read` tells them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - as io declares it
        try:
            content = self._file.read(len(buffer))
        except DAMAGES as error:
            raise OSError(f"damaged zip entry, fetch it again: {error}") from error
        buffer[: len(content)] = content
        return len(content)


def _is_listed(folder: str, skipped: Collection[str]) -> bool:
    return folder != "__MACOSX" and not folder.startswith(".") and folder not in skipped


def _check_size(num_bytes: int) -> None:
    if num_bytes > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
