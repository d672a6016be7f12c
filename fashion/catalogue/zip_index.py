"""Where each file of a zip lies in it, kept in a cache so that a large zip is opened at once."""

import hashlib
import json
import logging
import os
import stat
import struct
import zipfile
import zlib
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from fashion.cache_folder import DamagedError
from fashion.catalogue.listing import is_hidden
from fashion.files import replacing

FORMAT = 1
KIND = "zips"  # the folder of a cache that has them
LEAST = 10_000  # files, below which a zip is opened as quickly without
TAIL = 2**16  # bytes at the end of a zip, which change with any of its files
UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075  # Info-ZIP's extra field with a name in UTF-8
# What reading a damaged file of arrays may raise.
UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)
ENTRY = np.dtype(
    [
        *(("offset", "<i8"), ("end", "<i8")),  # of its header; where something else begins
        *(("size", "<i8"), ("packed", "<i8")),
        *(("checksum", "<u4"), ("name", "<u4")),  # of its content; of its name as it is written
        *(("method", "<u2"), ("flags", "<u2")),
        ("listed", "?"),
    ]
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Facts:
    """What there is to say of a zip beside its files.

    Attributes:
        passed_over: Maps what isn't listed to the reason.
        strange_names: See `fashion.catalogue.archives.Archive`.
        outside: Names that would leave the folder that the zip were unpacked into.
    """

    passed_over: dict[str, str]
    strange_names: list[str]
    outside: list[str]


@dataclass(frozen=True)
class ZipIndex:
    """The N files of a zip, hidden ones and links among them.

    Attributes:
        names: Their paths, sorted, written with single slashes; the last of equal ones is there.
        entries: `(N,)` of `ENTRY`.
        facts: What else there is.
    """

    names: list[str]
    entries: np.ndarray
    facts: Facts


def open_index(
    path: Path, file: IO[bytes], encoding: str | None, cache_dir: Path | None
) -> ZipIndex:
    """Return the index of a zip, kept from then on if the zip is large.

    Args:
        path: The zip.
        file: It, opened.
        encoding: See `fashion.catalogue.archives.Archive`.
        cache_dir: Where indices are kept; None, or one that can't be written, keeps none.

    Raises:
        ValueError: A name isn't in the code page.
        zipfile.BadZipFile: It is no complete zip; so say OSError, NotImplementedError and
            UnicodeDecodeError.
    """
    if cache_dir is None:
        return make_index(file, encoding)
    stamp = _stamp(file, encoding)
    kept = cache_dir / KIND / f"{stamp[:16]}.npz"
    try:
        return read_index(kept, stamp)
    except FileNotFoundError:
        pass
    except DamagedError as error:
        log.info("The index %s of a zip is damaged (%s), so it is made again.", kept, error)
    index = make_index(file, encoding)
    if len(index.names) >= LEAST and not index.facts.outside:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            _write(kept, index, stamp)
        except OSError as error:
            log.info("The index of %s isn't kept in %s (%s).", path, cache_dir, error)
    return index


def make_index(file: IO[bytes], encoding: str | None) -> ZipIndex:
    """Read the directory of a zip; see `open_index`."""
    with zipfile.ZipFile(file) as archive:
        infos, start = archive.infolist(), archive.start_dir
    facts = Facts({}, [], [])
    places: dict[str, int] = {}
    for place, info in enumerate(infos):
        path = _path(_name(info, encoding, facts.strange_names), facts.outside)
        if path in places:
            facts.passed_over[path] = "in the zip twice; the last is taken"
        if path is not None:
            places[path] = place
    names = sorted(places)
    order = [places[name] for name in names]
    entries = _entries(infos, start)[order]
    entries["listed"] = [
        _is_listed(name, stat.S_ISLNK(infos[place].external_attr >> 16), facts.passed_over)
        for name, place in zip(names, order, strict=True)
    ]
    return ZipIndex(names, entries, facts)


def _entries(infos: list[zipfile.ZipInfo], start: int) -> np.ndarray:
    """Return `ENTRY` of all that stands before the zip's directory, which starts somewhere."""
    entries = np.zeros(len(infos), ENTRY)
    for field, attribute in (
        *(("offset", "header_offset"), ("size", "file_size"), ("packed", "compress_size")),
        *(("checksum", "CRC"), ("method", "compress_type"), ("flags", "flag_bits")),
    ):
        entries[field] = np.fromiter((getattr(i, attribute) for i in infos), np.int64, len(infos))
    entries["name"] = [name_checksum(info.orig_filename) for info in infos]
    offsets = np.unique(np.append(entries["offset"], start))
    after = np.searchsorted(offsets, entries["offset"], side="right")
    entries["end"] = offsets[np.minimum(after, len(offsets) - 1)]
    return entries


def name_checksum(name: str) -> int:
    """Return the checksum of a name as the zip has it."""
    return zlib.crc32(name.encode("utf-8", "surrogatepass"))


def _name(info: zipfile.ZipInfo, encoding: str | None, strange: list[str]) -> str:
    """Return the name of an entry, whatever program wrote it."""
    if info.flag_bits & UTF8_FLAG or (info.orig_filename.isascii() and not info.extra):
        return info.orig_filename
    raw = _unicode_path(info.extra) or info.orig_filename.encode("cp437")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        pass
    if encoding is None:
        strange.append(info.orig_filename)
        return info.orig_filename
    try:
        return raw.decode(encoding)
    except (LookupError, UnicodeDecodeError) as error:
        raise ValueError(f"its names aren't in the code page {encoding!r}: {error}") from error


def _unicode_path(extra: bytes) -> bytes | None:
    """Return the name in Info-ZIP's extra field, which some programs write beside a plain one."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == UNICODE_PATH and size > 5:
            return extra[9 : 4 + size]  # after a version and a checksum
        extra = extra[4 + size :]
    return None


def _path(written: str, outside: list[str]) -> str | None:
    """Return the path that a name means; none of a folder, nor of what leaves the zip."""
    name = written.replace("\\", "/")
    if name.endswith("/"):
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    has_drive = parts and parts[0][1:2] == ":"
    if not parts or has_drive or name.startswith("/") or ".." in parts or "\0" in name:
        outside.append(written)
        return None
    return "/".join(parts)


def _is_listed(path: str, is_link: bool, passed_over: dict[str, str]) -> bool:
    parts = path.split("/")
    for place, part in enumerate(parts, 1):
        if is_hidden(part):
            passed_over["/".join(parts[:place])] = "hidden or a system's"
            return False
    if is_link:
        passed_over[path] = "links in a zip"
    return not is_link


def _stamp(file: IO[bytes], encoding: str | None) -> str:
    """Return what changes with a zip, its size, time or end, and with how its names are read."""
    status = os.fstat(file.fileno())
    digest = hashlib.sha256(f"{status.st_size}:{status.st_mtime_ns}:{encoding}\n".encode())
    file.seek(max(0, status.st_size - TAIL))
    digest.update(file.read(TAIL))
    file.seek(0)
    return digest.hexdigest()


def _write(path: Path, index: ZipIndex, stamp: str) -> None:
    facts = json.dumps({"format": FORMAT, "stamp": stamp, **asdict(index.facts)})
    names, told = (
        np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
        for text in ("\0".join(index.names), facts)
    )
    with replacing(path) as file:
        np.savez(file, entries=index.entries, names=names, facts=told)


def read_index(path: Path, stamp: str | None = None) -> ZipIndex:
    """Return an index that is kept.

    Args:
        path: Its file.
        stamp: What was written with it; None: whatever that is.

    Raises:
        FileNotFoundError: There is none.
        DamagedError: It isn't as it was written, or can't be read.
    """
    if not os.path.lexists(path):
        raise FileNotFoundError(path)
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            entries = stored["entries"]
            names, facts = (
                stored[key].tobytes().decode("utf-8", "surrogatepass") for key in ("names", "facts")
            )
        told = json.loads(facts)
        if told.pop("format") != FORMAT or entries.dtype != ENTRY:
            raise DamagedError("it is of another release")
        if (written := told.pop("stamp")) != (stamp or written):
            raise DamagedError("it is of another zip")
        index = ZipIndex(names.split("\0"), entries, Facts(**told))
    except UNREADABLE as error:
        raise DamagedError(str(error) or type(error).__name__) from error
    if entries.shape != (len(index.names),):
        raise DamagedError(f"it has {len(entries):,} files and {len(index.names):,} names")
    return index
