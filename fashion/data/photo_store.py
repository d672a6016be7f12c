"""The packed photo store: every photo decoded once into one uint8 file that is memory-mapped."""

import hashlib
import json
import logging
import os
import shutil
import uuid
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from fashion.cache_folder import FULL, DamagedError, make_folder, reading, remove, writing
from fashion.catalogue.images import FITS, decode_image, decode_or_say_why
from fashion.catalogue.root import CatalogueRoot
from fashion.cores import usable_cores
from fashion.files import size_text, write_all
from fashion.locks import alone, hold

FORMAT = 1
PIXELS, INDEX, UNFINISHED = "photos.u8", "store.json", ".unfinished"
CHUNK = 512  # photos decoded between two writes
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoStore:
    """A finished store: `(N, H, W, 3)` uint8 on disk, opened when first read.

    It isn't deleted for as long as there is one of these, where the disk has locks.

    Attributes:
        folder: Where it lies.
        ids: The id of each photo, in the order of the file.
        input_size: H and W, in pixels.
        unreadable: Maps the ids whose photo could not be decoded to the reason; their slot is
            white.
    """

    folder: Path
    ids: list[str]
    input_size: int
    unreadable: dict[str, str]

    @cached_property
    def photos(self) -> np.ndarray:
        """The photos, `(N, H, W, 3)` uint8, memory-mapped."""
        shape = (len(self.ids), self.input_size, self.input_size, 3)
        return np.memmap(self.folder / PIXELS, dtype=np.uint8, mode="r", shape=shape)

    def slots(self, ids: Iterable[str]) -> np.ndarray:
        """Return the places of photos in the file, `(N,)`, by their ids."""
        places = pd.Series(range(len(self.ids)), index=self.ids)
        slots: np.ndarray = places[list(ids)].to_numpy()
        return slots

    def __getstate__(self) -> dict[str, object]:
        """Leave the memory map behind, so that a worker process opens its own."""
        return {key: value for key, value in self.__dict__.items() if key != "photos"}


def open_store(
    root: CatalogueRoot,
    table: pd.DataFrame,
    input_size: int,
    fit: str,
    interpolation: str,
    cache_dir: Path,
) -> PhotoStore:
    """Open the store of these photos, packing it first where there is none.

    The key is made of the photos' ids and contents and of the settings, so a changed photo or
    setting packs a new store. A store appears under its key only when it is complete; of two
    processes that want the same one, the second waits for the first. One that is complete is read
    without a lock; one that lost a part, as its sizes tell, is packed again.

    Args:
        root: Reads the photos.
        table: The catalogue table, columns `id` and `photo`.
        input_size: Side of the square, in pixels.
        fit: See `decode_image`.
        interpolation: See `decode_image`.
        cache_dir: The folder of all stores.

    Raises:
        ValueError: `fit` or `input_size` is unknown.
        OSError: The disk lacks the room, or the folder can't be written.
    """
    if fit not in FITS:
        raise ValueError(f"data.fit={fit!r} is unknown; pass {' or '.join(FITS)}.")
    if input_size < 1:
        raise ValueError(f"model.input_size={input_size} must be a number of pixels above 0.")
    folder = store_folder(root, table, input_size, fit, interpolation, cache_dir)
    ids, damage = table["id"].tolist(), ""
    try:
        return _open(folder, ids, input_size)
    except FileNotFoundError:
        pass
    except DamagedError as error:
        damage = f"The store {folder} is damaged ({error}), so it is to be packed again."
        log.warning(damage)
    make_folder(cache_dir, folder.parent.name, damage)
    decode = partial(decode_image, input_size=input_size, fit=fit, interpolation=interpolation)
    with alone(folder, f"the store {folder}") as is_alone:
        if not is_packed(folder, len(ids), input_size):  # by the process that was waited for
            _pack(folder, table, input_size, lambda photo: decode(root.read(photo)), is_alone)
        return _open(folder, ids, input_size)


def _open(folder: Path, ids: list[str], input_size: int) -> PhotoStore:
    """Return a store that is there, held.

    Raises:
        FileNotFoundError: There is none, or it is being deleted.
        DamagedError: A part of it isn't as it was written.
        OSError: It can't be read.
    """
    try:
        held = hold(folder / INDEX)
    except BlockingIOError as error:
        raise FileNotFoundError(folder) from error
    try:
        index = read_index(folder)
        index.check(len(ids), input_size)
        store = PhotoStore(folder, ids, input_size, index.unreadable)
    except BaseException:
        if held is not None:
            os.close(held)
        raise
    if held is not None:
        weakref.finalize(store, os.close, held).atexit = False
    return store


class StoreIndex(NamedTuple):
    """What a finished store says of itself."""

    photos: int
    input_size: int
    unreadable: dict[str, str]

    def check(self, num_photos: int, input_size: int) -> None:
        """Check that a store is of so many photos, of this size.

        Raises:
            DamagedError: It is not.
        """
        if (self.photos, self.input_size) != (num_photos, input_size):
            raise DamagedError(
                f"its {INDEX} tells of {self.photos} photos at {self.input_size} px, which should "
                f"be {num_photos} at {input_size} px"
            )


def read_index(folder: Path) -> StoreIndex:
    """Return what a finished store says of itself, and check that its photos' file is whole.

    That is told by its size; checksums of all photos would take as long as reading them all.

    Raises:
        FileNotFoundError: There is no store.
        DamagedError: A part isn't as it was written.
        OSError: It can't be read.
    """
    path, pixels = folder / INDEX, folder / PIXELS
    if not os.path.lexists(folder):
        raise FileNotFoundError(folder)
    try:
        with reading(folder.parent.parent):
            content = path.read_bytes() if path.is_file() else b""
            size = pixels.stat().st_size if pixels.is_file() else None
        index = StoreIndex(**json.loads(content))
    except (ValueError, TypeError) as error:  # no JSON, no object, or other keys
        raise DamagedError(f"{INDEX} can't be read") from error
    counts, names = (index.photos, index.input_size), index.unreadable
    if not all(type(count) is int and count >= 0 for count in counts) or not (
        isinstance(names, dict) and all(isinstance(reason, str) for reason in names.values())
    ):
        raise DamagedError(f"{INDEX} can't be read")
    if size != (whole := store_bytes(*counts)):
        found = "is not there" if size is None else f"has {size:,} bytes, not {whole:,}"
        raise DamagedError(f"{PIXELS} {found}")
    return index


def store_folder(
    root: CatalogueRoot,
    table: pd.DataFrame,
    input_size: int,
    fit: str,
    interpolation: str,
    cache_dir: Path,
) -> Path:
    """Return where `open_store` keeps the store of these photos, packed or not."""
    digest = hashlib.sha256(f"{FORMAT} {input_size} {fit} {interpolation}\n".encode())
    for id_, photo in zip(table["id"], table["photo"], strict=True):
        digest.update(f"{id_}:{root.stamp(photo)}\n".encode("utf-8", "surrogateescape"))
    return cache_dir / "photos" / digest.hexdigest()[:16]


def is_packed(folder: Path, num_photos: int, input_size: int) -> bool:
    """Return whether a folder holds a finished store of so many photos, of this size."""
    try:
        read_index(folder).check(num_photos, input_size)
    except (FileNotFoundError, DamagedError):
        return False
    return True


def store_bytes(num_photos: int, input_size: int) -> int:
    """Return the size of a store in bytes."""
    return num_photos * input_size * input_size * 3


def _pack(
    folder: Path,
    table: pd.DataFrame,
    input_size: int,
    decode: Callable[[str], np.ndarray],
    is_alone: bool,
) -> None:
    """Decode every photo into a temporary folder and rename it to `folder` when it is complete."""
    part = UNFINISHED if is_alone else f".{uuid.uuid4().hex[:8]}{UNFINISHED}"
    unfinished, cache_dir = folder.with_suffix(part), folder.parent.parent
    with writing(cache_dir):
        remove(unfinished)
    _check_room(folder, len(table), input_size)
    try:
        unreadable = _write_photos(unfinished, table, input_size, decode)
        index = StoreIndex(len(table), input_size, unreadable)
        with writing(cache_dir):
            (unfinished / INDEX).write_text(json.dumps(index._asdict()), "utf-8")
            _put_in_place(unfinished, folder, index)
    except BaseException as error:
        cause = error.__cause__
        if not is_alone or (isinstance(cause, OSError) and cause.errno in FULL):
            shutil.rmtree(unfinished, ignore_errors=True)  # nobody else would find it, or has room
        raise


def _write_photos(
    folder: Path, table: pd.DataFrame, input_size: int, decode: Callable[[str], np.ndarray]
) -> dict[str, str]:
    """Write every photo into a folder's file; return the ids that can't be read, with reasons."""
    cache_dir = folder.parent.parent
    unreadable: dict[str, str] = {}
    white = np.full((input_size, input_size, 3), 255, np.uint8)
    bar = tqdm(total=len(table), desc="Packing photos", unit="photo", disable=None)
    with writing(cache_dir):
        folder.mkdir()
        pixels = (folder / PIXELS).open("wb", buffering=0)
    with ThreadPoolExecutor(usable_cores()) as pool, pixels, bar:
        for start in range(0, len(table), CHUNK):
            rows = table.iloc[start : start + CHUNK]
            photos = pool.map(lambda name: decode_or_say_why(partial(decode, name)), rows["photo"])
            for id_, photo in zip(rows["id"], photos, strict=True):
                if isinstance(photo, str):
                    unreadable[id_] = photo
                with writing(cache_dir):
                    write_all(pixels, (white if isinstance(photo, str) else photo).data)
            bar.update(len(rows))
        with writing(cache_dir):
            os.fsync(pixels.fileno())
    return unreadable


def _put_in_place(unfinished: Path, folder: Path, index: StoreIndex) -> None:
    """Rename a folder, unless another process was faster, which can be where there are no locks."""
    if not is_packed(folder, index.photos, index.input_size):
        remove(folder)
    try:
        unfinished.rename(folder)
    except OSError:
        if not is_packed(folder, index.photos, index.input_size):
            raise
        shutil.rmtree(unfinished)


def _check_room(folder: Path, num_photos: int, input_size: int) -> None:
    num_bytes = store_bytes(num_photos, input_size)
    free = shutil.disk_usage(folder.parent).free
    size = f"{num_photos:,} photos at {input_size} px take {size_text(num_bytes)}"
    if num_bytes > free:
        raise OSError(
            f"data.cache_dir={str(folder.parent.parent)!r}: {size}, but {size_text(free)} are "
            "free. Pass data.cache_dir on a larger disk, a smaller model.input_size, or delete "
            "stores (fashion cache)."
        )
    log.info("%s in %s", size, folder)
