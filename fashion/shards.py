"""Records on disk that are found by their keys, in shards that never change once they are whole.

A store is a folder of shards, each a folder with a file of keys and one of each field, which are
mapped into memory. Records are added in new shards; one is there once its shard has its name.
Whoever reads needs no lock, and what was cut short costs no more than the shard that was at work.
"""

import hashlib
import json
import logging
import mmap
import os
import shutil
import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fashion.cache_folder import DamagedError, make_folder, reading, remove, writing
from fashion.files import write_all, write_file
from fashion.locks import alone, hold

FORMAT = 2
INDEX, SHARD, KEYS = "store.json", "shard.json", "keys.bin"
UNFINISHED = ".unfinished"
KEY = np.dtype("V16")  # of a record: 16 bytes that are compared as a whole
MAX_RECORDS, MAX_BYTES = 16_384, 2**28  # of a shard
LARGE = 4_096  # bytes of a record that is copied by itself rather than with others
log = logging.getLogger(__name__)


class Field(NamedTuple):
    """One array of each record."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def num_bytes(self) -> int:
        """Bytes of one record."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


class Shard(NamedTuple):
    """A whole shard.

    Attributes:
        folder: Where it lies.
        records: How many it has.
        notes: Maps the place of a record in it to what is to be said of that.
    """

    folder: Path
    records: int
    notes: dict[int, str]


def check_places(places: np.ndarray, length: int) -> None:
    """Check that places are in [0, length): numpy counts from the end, and XLA takes the nearest.

    Raises:
        IndexError: One is not.
    """
    if len(places) and not (places.min() >= 0 and places.max() < length):
        wrong = places[(places < 0) | (places >= length)][0]
        raise IndexError(f"There is no place {wrong} among {length:,}.")


class ShardedStore:
    """M records of some fields, as far as they are there; a record's place is in [0, M).

    It isn't deleted for as long as there is one of these, where the disk has locks. A shard that
    lost a part, as the sizes of its files tell, counts as absent.

    Args:
        folder: `CACHE/KIND/KEY`, which need not be there.
        fields: What each record has.
        facts: What the store says of itself in `cache list`.

    Attributes:
        damage: What is wrong with the shards that count as absent, by their names.
    """

    def __init__(self, folder: Path, fields: Sequence[Field], facts: Mapping[str, object]) -> None:
        self.folder = folder
        self.fields = tuple(fields)
        self._index = json.dumps({"format": FORMAT, **facts, "fields": self.fields}).encode()
        self.damage: dict[str, str] = {}
        self._shards: list[Shard] = []
        self._is_held = False
        self._hold()
        self.reload()

    def __len__(self) -> int:
        """Return M."""
        return sum(shard.records for shard in self._shards)

    def __getstate__(self) -> dict[str, object]:
        """Leave keys and memory maps behind, so that a worker process opens its own."""
        return {key: part for key, part in self.__dict__.items() if key not in _CACHED}

    @property
    def record_bytes(self) -> int:
        """Bytes of one record on the disk."""
        return sum(field.num_bytes for field in self.fields)

    @property
    def notes(self) -> dict[int, str]:
        """What is to be said of some records, by their places."""
        firsts = self._ends - [shard.records for shard in self._shards]
        return {
            int(first) + place: note
            for first, shard in zip(firsts, self._shards, strict=True)
            for place, note in shard.notes.items()
        }

    def reload(self) -> None:
        """Look which shards are there.

        Raises:
            OSError: They can't be read.
        """
        self._shards, self.damage = [], {}
        for name in _CACHED:
            self.__dict__.pop(name, None)
        with reading(self.cache_dir):
            for folder in shard_folders(self.folder):
                try:
                    self._shards.append(read_shard(folder, self.fields))
                except DamagedError as error:
                    self.damage[folder.name] = str(error)
                except FileNotFoundError:
                    pass  # whoever found it damaged has deleted it

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the places of keys `(N,)` V16, `(N,)` int64, -1 for one that isn't there.

        O((N + M) log M).
        """
        order, ordered = self._by_key
        if not len(ordered):
            return np.full(len(keys), -1)
        at = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
        places: np.ndarray = np.where(ordered[at] == keys, order[at], -1)
        return places

    def take(self, name: str, places: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return one field of some records, `(B, ...)`, written into `out` where that is passed.

        Raises:
            IndexError: There is no such record.
        """
        check_places(places, len(self))
        field, maps = next(each for each in self.fields if each.name == name), self._maps[name]
        if len(maps) == 1:  # with its default mode, take would fill a copy of `out` first
            taken: np.ndarray = np.take(maps[0], places, axis=0, out=out, mode="clip")
            return taken
        if out is None:
            out = np.empty((len(places), *field.shape), field.dtype)
        numbers = np.searchsorted(self._ends, places, side="right")
        within = places - np.concatenate([[0], self._ends])[numbers]
        if field.num_bytes >= LARGE:
            for row, (number, place) in enumerate(zip(numbers, within, strict=True)):
                out[row] = maps[number][place]
        else:
            for number in np.unique(numbers):
                chosen = numbers == number
                out[chosen] = maps[number][within[chosen]]
        return out

    def release(self, name: str) -> None:
        """Take what was read of a field out of this process' memory; the system may keep it."""
        for each in self._maps[name] if hasattr(mmap, "MADV_DONTNEED") else ():
            below: object = each
            while isinstance(below, np.ndarray):
                below = below.base
            if isinstance(below, mmap.mmap):
                below.madvise(mmap.MADV_DONTNEED)

    @contextmanager
    def adding(self) -> Iterator["Adder"]:
        """Be the one who adds records, after any other process that does.

        What is there by then is known inside the block, and damaged shards are gone. What was added
        is there after it, whatever ends it, but for the shard whose writing failed.

        Raises:
            OSError: The folder can't be written.
        """
        damage = self._damage()
        if damage:
            log.warning(damage)
        make_folder(self.cache_dir, self.folder.parent.name, damage)
        with alone(self.folder, f"the store {self.folder}") as is_alone:
            with writing(self.cache_dir):
                self._tidy(is_alone)
            self.reload()
            adder = Adder(self, is_alone)
            try:
                yield adder
            finally:
                adder.close()
                self.reload()

    @property
    def cache_dir(self) -> Path:
        """The folder of all stores."""
        return self.folder.parent.parent

    def _damage(self) -> str:
        if not self.damage:
            return ""
        name, why = next(iter(self.damage.items()))
        return f"The store {self.folder} is damaged ({name}: {why}), so that is made again."

    def _tidy(self, is_alone: bool) -> None:
        """Write the index where it isn't as it should be, and delete what nobody can use."""
        if not self.folder.is_dir():
            remove(self.folder)
            self.folder.mkdir()
        path = self.folder / INDEX
        if not path.is_file() or path.read_bytes() != self._index:
            if path.is_dir():
                remove(path)
            write_file(path, self._index)
        self._hold()
        for name in self.damage:
            remove(self.folder / name)
        for leftover in self.folder.glob(f"*{UNFINISHED}") if is_alone else ():
            remove(leftover)

    def _hold(self) -> None:
        """Keep the store from being deleted; one that is being deleted counts as absent."""
        held = None
        with suppress(BlockingIOError):
            held = None if self._is_held else hold(self.folder / INDEX)
        if held is not None:
            self._is_held = True
            weakref.finalize(self, os.close, held).atexit = False

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([shard.records for shard in self._shards], dtype=np.int64)

    @cached_property
    def _by_key(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the places in the order of their keys, and these; of equal ones the first."""
        with reading(self.cache_dir):
            parts = [np.fromfile(shard.folder / KEYS, KEY) for shard in self._shards]
        keys = np.concatenate(parts) if parts else np.empty(0, KEY)
        order = np.argsort(keys, kind="stable")
        return order, keys[order]

    @cached_property
    def _maps(self) -> dict[str, list[np.ndarray]]:
        return {
            field.name: [_mapped(shard, field) for shard in self._shards] for field in self.fields
        }


_CACHED = ("_ends", "_by_key", "_maps")


class Adder:
    """Writes records into new shards of a store.

    Args:
        store: The store.
        is_alone: Whether other processes are kept out.
    """

    def __init__(self, store: ShardedStore, is_alone: bool) -> None:
        self._store = store
        self._suffix = "" if is_alone else f"-{uuid.uuid4().hex[:8]}"
        self._open: _OpenShard | None = None

    def add(
        self, keys: np.ndarray, arrays: Mapping[str, np.ndarray], notes: Mapping[int, str] = {}
    ) -> None:
        """Write records down.

        Args:
            keys: `(B,)` V16, none of which is there yet.
            arrays: `(B, ...)` of each field, by its name.
            notes: What is to be said of some, by their places in the batch.

        Raises:
            OSError: The disk is full.
        """
        with writing(self._store.cache_dir):
            if self._open is None:
                self._open = _OpenShard(self._store, self._suffix)
            try:
                self._open.write(keys, arrays, notes)
            except OSError:
                self._open.discard()
                self._open = None
                raise
            records = self._open.records
        if records >= MAX_RECORDS or records * self._store.record_bytes >= MAX_BYTES:
            self.close()

    def close(self) -> None:
        """Give the shard at work its name, unless nothing is in it."""
        shard, self._open = self._open, None
        if shard is not None and not shard.records:
            shard.discard()
        elif shard is not None:
            with writing(self._store.cache_dir):
                shard.finish()


class _OpenShard:
    """A shard that is being written."""

    def __init__(self, store: ShardedStore, suffix: str) -> None:
        self.records = 0
        self._notes: dict[int, str] = {}
        self._fields = store.fields
        self._sizes = [KEY.itemsize, *(field.num_bytes for field in store.fields)]
        numbers = [int(path.name[:5]) for path in shard_folders(store.folder)]
        name = f"{max(numbers, default=-1) + 1:05}{suffix}"
        self._folder, self._unfinished = store.folder / name, store.folder / f"{name}{UNFINISHED}"
        self._unfinished.mkdir()
        self._stack = ExitStack()
        self._keys, *self._files = [
            self._stack.enter_context(path.open("wb", buffering=0))
            for path in (
                self._unfinished / KEYS,
                *(_file(self._unfinished, field) for field in store.fields),
            )
        ]

    def write(
        self, keys: np.ndarray, arrays: Mapping[str, np.ndarray], notes: Mapping[int, str]
    ) -> None:
        """Write some records behind those that are there."""
        for file, field in zip(self._files, self._fields, strict=True):
            content = np.ascontiguousarray(arrays[field.name], field.dtype)
            if content.shape != (len(keys), *field.shape):
                raise ValueError(f"{field.name} has the shape {content.shape}.")
            write_all(file, content.reshape(-1).view(np.uint8).data)
        write_all(self._keys, np.ascontiguousarray(keys, KEY).view(np.uint8).data)
        self._notes |= {self.records + place: note for place, note in notes.items()}
        self.records += len(keys)

    def finish(self) -> None:
        """Bring everything to the disk, then give the shard its name."""
        with self._stack:  # an interrupted write may have left more than whole records
            for file, num_bytes in zip((self._keys, *self._files), self._sizes, strict=True):
                os.ftruncate(file.fileno(), self.records * num_bytes)
                os.fsync(file.fileno())
        content = {"records": self.records, "notes": self._notes}
        (self._unfinished / SHARD).write_text(json.dumps(content), "utf-8")
        self._unfinished.rename(self._folder)

    def discard(self) -> None:
        """Delete what was written."""
        self._stack.close()
        shutil.rmtree(self._unfinished, ignore_errors=True)


def store_key(facts: Mapping[str, object], fields: Sequence[Field]) -> str:
    """Return the name of a store's folder, from all that decides its records beside their keys."""
    text = json.dumps([FORMAT, facts, [tuple(field) for field in fields]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shard_folders(store: Path) -> list[Path]:
    """Return what has the name of a whole shard in a store, in the order of their records."""
    if not store.is_dir():
        return []
    return sorted(path for path in store.iterdir() if path.name[:5].isdigit() and not path.suffix)


def read_shard(folder: Path, fields: Sequence[Field] | None = None) -> Shard:
    """Return what a shard says of itself, and check by their sizes that its files are whole.

    Checksums of all records would take as long as reading them all.

    Args:
        folder: The shard's.
        fields: What each record has; None leaves the sizes unchecked.

    Raises:
        FileNotFoundError: There is none.
        DamagedError: A part isn't as it was written.
        OSError: It can't be read.
    """
    if not os.path.lexists(folder):
        raise FileNotFoundError(folder)
    path = folder / SHARD
    content = path.read_bytes() if path.is_file() else b""
    try:
        found = json.loads(content)
        records, notes = found["records"], found["notes"]
        notes = {int(place): note for place, note in notes.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(f"{SHARD} can't be read") from error
    if type(records) is not int or not all(
        0 <= place < records and isinstance(note, str) for place, note in notes.items()
    ):
        raise DamagedError(f"{SHARD} can't be read")
    sizes = {} if fields is None else {_file(folder, f): f.num_bytes for f in fields}
    for file, num_bytes in {folder / KEYS: KEY.itemsize, **sizes}.items():
        size, whole = file.stat().st_size if file.is_file() else None, num_bytes * records
        if size != whole:
            what = "is not there" if size is None else f"has {size:,} bytes, not {whole:,}"
            raise DamagedError(f"{file.name} {what}")
    return Shard(folder, records, notes)


def read_index(store: Path) -> tuple[dict[str, object], tuple[Field, ...]]:
    """Return what a store says of itself, and the fields of its records.

    Raises:
        FileNotFoundError: There is none.
        DamagedError: That isn't as it was written, or an earlier release wrote it.
    """
    path = store / INDEX
    if not os.path.lexists(path):
        raise FileNotFoundError(path)
    try:
        facts = json.loads(path.read_bytes() if path.is_file() else b"")
        fields = tuple(Field(name, tuple(shape), dtype) for name, shape, dtype in facts["fields"])
        if facts["format"] != FORMAT or not all(field.num_bytes >= 0 for field in fields):
            raise DamagedError(f"{INDEX} is of another release")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(f"{INDEX} can't be read") from error
    return facts, fields


def _file(folder: Path, field: Field) -> Path:
    return folder / f"{field.name}.bin"


def _mapped(shard: Shard, field: Field) -> np.ndarray:
    shape = (shard.records, *field.shape)
    return np.asarray(np.memmap(_file(shard.folder, field), field.dtype, "r", shape=shape))
