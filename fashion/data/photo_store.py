"""The packed photo store: every photo decoded once into one uint8 file that is memory-mapped."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from tqdm import tqdm

from fashion.catalogue.images import FITS, decode_image, decode_or_say_why
from fashion.catalogue.root import CatalogueRoot

FORMAT = 1
PIXELS, INDEX, UNFINISHED = "photos.u8", "store.json", ".unfinished"
CHUNK = 512  # photos decoded between two writes
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoStore:
    """A finished store: `(N, H, W, 3)` uint8 on disk, opened when first read.

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
    processes that want the same one, the second waits for the first.

    Args:
        root: Reads the photos.
        table: The catalogue table, columns `id` and `photo`.
        input_size: Side of the square, in pixels.
        fit: See `decode_image`.
        interpolation: See `decode_image`.
        cache_dir: The folder of all stores.

    Raises:
        ValueError: `fit` or `input_size` is unknown.
        OSError: The disk lacks the room.
    """
    if fit not in FITS:
        raise ValueError(f"data.fit={fit!r} is unknown; pass {' or '.join(FITS)}.")
    if input_size < 1:
        raise ValueError(f"model.input_size={input_size} must be a number of pixels above 0.")
    folder = store_folder(root, table, input_size, fit, interpolation, cache_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not is_packed(folder):
            decode = partial(
                decode_image, input_size=input_size, fit=fit, interpolation=interpolation
            )
            _pack(folder, table, input_size, lambda photo: decode(root.read(photo)))
    index = json.loads((folder / INDEX).read_text())
    return PhotoStore(folder, table["id"].tolist(), input_size, index["unreadable"])


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


def is_packed(folder: Path) -> bool:
    """Return whether a store's folder holds a finished store."""
    return (folder / INDEX).exists()


def store_bytes(num_photos: int, input_size: int) -> int:
    """Return the size of a store in bytes."""
    return num_photos * input_size * input_size * 3


def _pack(
    folder: Path, table: pd.DataFrame, input_size: int, decode: Callable[[str], np.ndarray]
) -> None:
    """Decode every photo into a temporary folder and rename it to `folder` when it is complete."""
    unfinished = folder.with_suffix(UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    _check_room(folder, len(table), input_size)
    unfinished.mkdir()
    unreadable: dict[str, str] = {}
    white = np.full((input_size, input_size, 3), 255, np.uint8)
    bar = tqdm(total=len(table), desc="Packing photos", unit="photo", disable=None)
    with ThreadPoolExecutor(os.cpu_count()) as pool, open(unfinished / PIXELS, "wb") as pixels, bar:
        for start in range(0, len(table), CHUNK):
            rows = table.iloc[start : start + CHUNK]
            photos = pool.map(lambda name: decode_or_say_why(partial(decode, name)), rows["photo"])
            for id_, photo in zip(rows["id"], photos, strict=True):
                if isinstance(photo, str):
                    unreadable[id_] = photo
                pixels.write((white if isinstance(photo, str) else photo).tobytes())
            bar.update(len(rows))
        pixels.flush()
        os.fsync(pixels.fileno())
    index = {"photos": len(table), "input_size": input_size, "unreadable": unreadable}
    (unfinished / INDEX).write_text(json.dumps(index))
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _check_room(folder: Path, num_photos: int, input_size: int) -> None:
    num_bytes = store_bytes(num_photos, input_size)
    free = shutil.disk_usage(folder.parent).free
    size = f"{num_photos:,} photos at {input_size} px take {num_bytes / 1e9:.2f} GB"
    if num_bytes > free:
        raise OSError(
            f"data.cache_dir={str(folder.parent.parent)!r}: {size}, but {free / 1e9:.2f} GB are "
            "free. Pass data.cache_dir on a larger disk, a smaller model.input_size, or delete "
            "stores (fashion cache)."
        )
    log.info("%s in %s", size, folder)
