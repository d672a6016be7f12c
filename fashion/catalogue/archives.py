"""A zip whose files are read where they lie, however it was written."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any

from fashion.catalogue.listing import HEAD_BYTES, is_hidden, is_photo

MAX_FILE_BYTES = 256 * 2**20
MAX_RATIO = 200  # how many times its packed size a table in a zip may have
SMALL_BYTES = 2**20  # below which it may have any ratio
DAMAGES = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError)
METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz", 98: "ppmd"}
READABLE_METHODS = (
    *(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
    *(zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA),
)
UTF8_FLAG, ENCRYPTED_FLAG = 0x800, 0x1
UNICODE_PATH = 0x7075  # Info-ZIP's extra field with a name in UTF-8
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

    Attributes:
        top: Empty, so that it joins with names as a folder does.
        passed_over: Maps what isn't listed to the reason, once something has been listed.
        strange_names: Names that are in neither UTF-8 nor a code page that was asked for.

    Raises:
        ValueError: It is no complete zip, or the code page is unknown or another; the text says so.
    """

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.top = PurePosixPath()
        self.passed_over: dict[str, str] = {}
        self.strange_names: list[str] = []
        self._encoding = encoding
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, NotImplementedError, UnicodeDecodeError) as error:
            raise ValueError(_kind(path) or str(error)) from error
        self._entries: dict[str, zipfile.ZipInfo] = {}
        self._outside: list[str] = []
        for info in self._zip.infolist():
            self._add(info)

    def names(self, skipped: Collection[str] = ()) -> Iterator[PurePosixPath]:
        """List the files, sorted, but hidden ones, links, and those in hidden folders and others.

        Args:
            skipped: Names of folders that aren't looked into.
        """
        for name in sorted(self._entries):
            path = PurePosixPath(name)
            if not any(folder in skipped for folder in path.parts[:-1]) and self._is_listed(path):
                yield path

    def names_in(self, folder: PurePath) -> list[str]:
        """Return the sorted names, without the path, of the files right in one folder."""
        return [path.name for path in self.names() if path.parent == folder]

    def folders_in(self, folder: PurePath) -> list[str]:
        """Return the sorted names, without the path, of the folders right in one folder."""
        depth = len(folder.parts)
        below = (path.parts for path in self.names() if path.is_relative_to(folder))
        return sorted({parts[depth] for parts in below if len(parts) > depth + 1})

    def names_outside(self) -> list[str]:
        """Return the names that would leave the folder that the zip were unpacked into."""
        return self._outside

    def unreadable(self) -> tuple[str, str] | None:
        """Return a photo or table that can't be unpacked, and what to do; None where there is none.

        Only what the zip's directory says is looked at: a password, or a method that Python lacks.
        """
        for name, info in self._entries.items():
            if info.flag_bits & ENCRYPTED_FLAG:
                return name, "needs a password. Unpack the zip and pass the folder"
            if info.compress_type not in READABLE_METHODS:
                method = METHODS.get(info.compress_type, str(info.compress_type))
                return name, (
                    f"is packed by the method {method}, which Python can't read. Unpack the zip "
                    "and pass the folder, or zip it again with the method deflate"
                )
        return None

    def holds(self, name: str) -> bool:
        """Return whether there is a file of a name."""
        return name in self._entries

    def is_photo(self, path: PurePath) -> bool:
        """Return whether a file is a photo, by its ending or else its content."""
        return is_photo(path.name, lambda: self._head(str(path)))

    def digest(self, name: str) -> str:
        """Return a text that is the same for files of the same content."""
        return f"{self._entries[name].CRC:08x}"

    def stamp(self, name: str) -> str:
        """Return a text that changes when a file's content does: size and checksum."""
        return f"{self._entries[name].file_size}:{self.digest(name)}"

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: The zip's own file can't be read.
            ValueError: The entry is damaged, encrypted or larger than `MAX_FILE_BYTES`.
        """
        check_size(self._entries[name].file_size)
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

    def _add(self, info: zipfile.ZipInfo) -> None:
        written = self._name(info)
        name = written.replace("\\", "/")
        if name.endswith("/"):  # a folder
            return
        parts = [part for part in name.split("/") if part not in ("", ".")]
        has_drive = parts and parts[0][1:2] == ":"
        if not parts or has_drive or name.startswith("/") or ".." in parts or "\0" in name:
            self._outside.append(written)
            return
        path = "/".join(parts)
        if path in self._entries:
            self.passed_over[path] = "in the zip twice; the last is taken"
        self._entries[path] = info

    def _name(self, info: zipfile.ZipInfo) -> str:
        """Return the name of an entry, whatever program wrote it."""
        if info.flag_bits & UTF8_FLAG:
            return info.orig_filename
        raw = _unicode_path(info.extra) or info.orig_filename.encode("cp437")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            pass
        if self._encoding is None:
            self.strange_names.append(info.orig_filename)
            return info.orig_filename
        try:
            return raw.decode(self._encoding)
        except (LookupError, UnicodeDecodeError) as error:
            raise ValueError(
                f"its names aren't in the code page {self._encoding!r}: {error}"
            ) from error

    def _is_listed(self, path: PurePosixPath) -> bool:
        for place, part in enumerate(path.parts, 1):
            if is_hidden(part):
                self.passed_over["/".join(path.parts[:place])] = "hidden or a system's"
                return False
        if stat.S_ISLNK(self._entries[str(path)].external_attr >> 16):
            self.passed_over[str(path)] = "links in a zip"
            return False
        return True

    def _head(self, name: str) -> bytes:
        try:
            with self._zip.open(self._entries[name]) as file:
                return file.read(HEAD_BYTES)
        except DAMAGES:
            return b""


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


def check_size(num_bytes: int) -> None:
    """Refuse a file that no photo is as large as.

    Raises:
        ValueError: It is larger than `MAX_FILE_BYTES`.
    """
    if num_bytes > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES >> 20} MiB")


def _unicode_path(extra: bytes) -> bytes | None:
    """Return the name in Info-ZIP's extra field, which some programs write beside a plain one."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == UNICODE_PATH and size > 5:
            return extra[9 : 4 + size]  # after a version and a checksum
        extra = extra[4 + size :]
    return None


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
