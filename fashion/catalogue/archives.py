"""A zip whose files are read where they lie, however it was written."""

import io
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Collection, Iterator
from itertools import compress
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np

from fashion.catalogue.listing import HEAD_BYTES, is_photo
from fashion.catalogue.zip_index import open_index
from fashion.catalogue.zip_members import ENCRYPTED_FLAG, Entry, ZipMembers

MAX_FILE_BYTES = 256 * 2**20
MAX_RATIO = 200  # how many times its packed size a table in a zip may have
SMALL_BYTES = 2**20  # below which it may have any ratio
NO_ZIP = (*(zipfile.BadZipFile, OSError, NotImplementedError, OverflowError, UnicodeDecodeError),)
DAMAGES = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError)
METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz", 98: "ppmd"}
READABLE_METHODS = (
    *(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
    *(zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA),
)
# How other kinds of archives begin: which kind, and where.
OTHER_ARCHIVES = (
    ("rar", 0, b"Rar!"),
    ("7z", 0, b"7z\xbc\xaf"),
    ("gzip", 0, b"\x1f\x8b"),
    ("xz", 0, b"\xfd7zXZ"),
    ("bzip2", 0, b"BZh"),
    ("tar", 257, b"ustar"),
)


class Archive:
    """The files in a zip, which isn't unpacked; the name of one is its path in the zip.

    Names are read as UTF-8 where they can be, also where the zip doesn't say so, as macOS writes
    it. Backslashes, `./` and doubled slashes in them are those of one path.

    Args:
        path: The zip.
        encoding: The code page of names that are no UTF-8, such as `cp866`; None takes the zip
            format's own, cp437.
        cache_dir: Where its directory is kept, so that it is opened at once again; None: nowhere.

    Attributes:
        top: Empty, so that it joins with names as a folder does.
        passed_over: Maps what isn't listed to the reason.
        strange_names: Names that are in neither UTF-8 nor a code page that was asked for.

    Raises:
        ValueError: It is no complete zip, or the code page is unknown or another; the text says so.
    """

    def __init__(
        self, path: Path, encoding: str | None = None, cache_dir: Path | None = None
    ) -> None:
        self.top = PurePosixPath()
        try:
            with path.open("rb") as file:
                index = open_index(path, file, encoding, cache_dir)
            self._members = ZipMembers(path)
        except NO_ZIP as error:
            raise ValueError(_kind(path) or str(error)) from error
        self.passed_over = index.facts.passed_over
        self.strange_names = index.facts.strange_names
        self._outside = index.facts.outside
        self._names, self._entries = index.names, index.entries
        self._sizes, self._checksums = self._entries["size"], self._entries["checksum"]

    def names(self, skipped: Collection[str] = ()) -> Iterator[str]:
        """List the files, sorted, but hidden ones, links, and those in hidden folders and others.

        Args:
            skipped: Names of folders that aren't looked into.
        """
        left_out: dict[str, bool] = {}
        for name in self._below(""):
            folder = name.rpartition("/")[0]
            if folder not in left_out:
                left_out[folder] = not {*skipped}.isdisjoint(folder.split("/"))
            if not left_out[folder]:
                yield name

    def names_in(self, folder: PurePath) -> list[str]:
        """Return the sorted files right in one folder."""
        start = len(prefix := self.prefix(folder))
        return [name for name in self._below(prefix) if "/" not in name[start:]]

    def folders_in(self, folder: PurePath) -> list[str]:
        """Return the sorted names, without the path, of the folders right in one folder."""
        start = len(prefix := self.prefix(folder))
        parts = (name[start:].partition("/") for name in self._below(prefix))
        return sorted({name for name, slash, _ in parts if slash})

    def prefix(self, folder: PurePath) -> str:
        """Return what the names of the files in a folder begin with."""
        return f"{folder}/" if folder.parts else ""

    def names_outside(self) -> list[str]:
        """Return the names that would leave the folder that the zip were unpacked into."""
        return self._outside

    def unreadable(self) -> tuple[str, str] | None:
        """Return a photo or table that can't be unpacked, and what to do; None where there is none.

        Only what the zip's directory says is looked at: a password, or a method that Python lacks.
        """
        locked = (self._entries["flags"] & ENCRYPTED_FLAG) != 0
        wrong = np.flatnonzero(locked | ~np.isin(self._entries["method"], READABLE_METHODS))
        if not len(wrong):
            return None
        name, number = self._names[wrong[0]], int(self._entries["method"][wrong[0]])
        if locked[wrong[0]]:
            return name, "needs a password. Unpack the zip and pass the folder"
        return name, (
            f"is packed by the method {METHODS.get(number, number)}, which Python can't read. "
            "Unpack the zip and pass the folder, or zip it again with the method deflate"
        )

    def holds(self, name: str) -> bool:
        """Return whether there is a file of a name."""
        place = bisect_left(self._names, name)
        return self._names[place : place + 1] == [name]

    def is_photo(self, name: str) -> bool:
        """Return whether a file is a photo, by its ending or else its content."""
        return is_photo(name.rpartition("/")[2], lambda: self._head(name))

    def digest(self, name: str) -> str:
        """Return a text that is the same for files of the same content."""
        return f"{self._entry(name).checksum:08x}"

    def stamp(self, name: str) -> str:
        """Return a text that changes when a file's content does: size and checksum."""
        place = self._place(name)
        return f"{self._sizes.item(place)}:{self._checksums.item(place):08x}"

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: The zip's own file can't be read.
            ValueError: The entry is damaged, encrypted or larger than `MAX_FILE_BYTES`.
        """
        check_size(self._entry(name).size)
        try:
            with self._open(name) as file:
                return file.read()
        except DAMAGES as error:
            raise ValueError(f"damaged zip entry: {str(error) or 'it is cut off'}") from error

    def open(self, name: str) -> io.BufferedReader:
        """Open a file of any size, to be read in parts.

        Raises:
            OSError: The entry is damaged, encrypted, or larger than `MAX_RATIO` times its packed
                size. Reading it raises this, too.
        """
        entry = self._entry(name)
        if entry.size > max(SMALL_BYTES, MAX_RATIO * entry.packed):
            raise OSError(
                f"its {entry.size:,} bytes are packed into {entry.packed:,}, more than "
                f"{MAX_RATIO} to one; unpack the zip if you trust it, and pass the folder"
            )
        try:
            return io.BufferedReader(_Unpacked(self._open(name)))
        except DAMAGES as error:
            raise OSError(f"damaged zip entry, fetch it again: {error}") from error

    def _below(self, prefix: str) -> list[str]:
        """Return the listed files whose names begin so."""
        first = bisect_left(self._names, prefix)
        end = (
            bisect_left(self._names, f"{prefix[:-1]}0") if prefix else len(self._names)
        )  # / is before 0
        listed = self._entries["listed"][first:end]
        return list(compress(self._names[first:end], listed.tolist()))

    def _place(self, name: str) -> int:
        """Return where a file is among all; raises KeyError where there is none."""
        place = bisect_left(self._names, name)
        if self._names[place : place + 1] != [name]:
            raise KeyError(name)
        return place

    def _entry(self, name: str) -> Entry:
        return Entry(*self._entries[self._place(name)].item())

    def _open(self, name: str) -> zipfile.ZipExtFile:
        return self._members.open(name, self._entry(name))

    def _head(self, name: str) -> bytes:
        try:
            with self._open(name) as file:
                return file.read(HEAD_BYTES)
        except DAMAGES:
            return b""


class _Unpacked(io.RawIOBase):
    """A file in a zip that is read in parts; damages are told as `Archive.read` tells them."""

    def __init__(self, file: zipfile.ZipExtFile) -> None:
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


def check_size(num_bytes: int) -> None:
    """Refuse a file that no photo is as large as.

    Raises:
        ValueError: It is larger than `MAX_FILE_BYTES`.
    """
    if num_bytes > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES >> 20} MiB")


def _kind(path: Path) -> str:
    """Say that a file is another kind of archive; empty where it is none that is known."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return ""
    for kind, place, magic in OTHER_ARCHIVES:
        if head[place:].startswith(magic):
            return f"it is a {kind} archive: unpack it and pass the folder"
    return ""
