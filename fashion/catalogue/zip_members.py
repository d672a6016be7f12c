"""Reads files from a zip whose directory is known."""

import os
import struct
import weakref
import zipfile
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from fashion.catalogue.zip_index import UTF8_FLAG, name_checksum

HEADER = struct.Struct("<4sHHHHHLLLHH")
SIGNATURE = b"PK\3\4"
ENCRYPTED_FLAG = 0x1
OTHER_FLAGS = 0x20 | 0x40  # patches, strong encryption


class Entry(NamedTuple):
    """What the zip's directory says of a file; see `fashion.catalogue.zip_index.ENTRY`."""

    offset: int
    end: int
    size: int
    packed: int
    checksum: int
    name: int
    method: int
    flags: int
    listed: bool


class ZipMembers:
    """A zip's own file, read in any thread or process at once.

    Args:
        path: The zip.

    Raises:
        OSError: It can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = Lock()
        weakref.finalize(self, os.close, self._file)

    def open(self, name: str, entry: Entry) -> zipfile.ZipExtFile:
        """Open a file in the zip, after comparing its own header with the directory.

        Raises:
            OSError: The zip can't be read.
            zipfile.BadZipFile: It is damaged, or encrypted; so may reading it say.
        """
        start = self._start_of(entry)
        info = zipfile.ZipInfo(name)
        info.file_size, info.compress_size = entry.size, entry.packed
        info.CRC, info.compress_type, info.flag_bits = entry.checksum, entry.method, entry.flags
        return zipfile.ZipExtFile(_Span(self, start), "r", info, None, True)

    def read_at(self, place: int, size: int) -> bytes:
        """Return so many bytes or less, at least one where there is any."""
        if hasattr(os, "pread"):
            return os.pread(self._file, size, place)
        with self._lock:
            os.lseek(self._file, place, os.SEEK_SET)
            return os.read(self._file, size)

    def _start_of(self, entry: Entry) -> int:
        """Return where a file's content begins."""
        head = self.read_at(entry.offset, HEADER.size)
        if len(head) < HEADER.size or not head.startswith(SIGNATURE):
            raise zipfile.BadZipFile("Bad magic number for file header")
        _, _, flags, *_, name_size, extra_size = HEADER.unpack(head)
        name = self.read_at(entry.offset + HEADER.size, name_size)
        written = name.decode("utf-8" if flags & UTF8_FLAG else "cp437", "replace")
        if name_checksum(written) != entry.name:
            raise zipfile.BadZipFile("File name in directory and header differ")
        if entry.flags & (ENCRYPTED_FLAG | OTHER_FLAGS):
            raise zipfile.BadZipFile("File is encrypted or patched")
        start: int = entry.offset + HEADER.size + name_size + extra_size
        if start + entry.packed > entry.end:
            raise zipfile.BadZipFile("Overlapped entries")
        return start


class _Span:
    """The part of a zip from some place on."""

    def __init__(self, members: ZipMembers, place: int) -> None:
        self._members, self._place = members, place

    def read(self, size: int, /) -> bytes:
        content = self._members.read_at(self._place, size)
        self._place += len(content)
        return content

    def close(self) -> None:
        """Leave the zip open."""
