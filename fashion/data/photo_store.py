"""The packed photos: each decoded once into a store of uint8 squares that are memory-mapped.

A photo is found by a key made of its name and content, so that a catalogue packs what other
catalogues, labels and settings of the table haven't packed before.
"""

import logging
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm

from fashion.cache_folder import reading
from fashion.catalogue.images import FITS, decode_image, decode_or_say_why
from fashion.catalogue.root import CatalogueRoot
from fashion.cores import usable_cores
from fashion.files import size_text
from fashion.shards import Adder, Field, ShardedStore, check_places, store_key
from fashion.wording import many

KIND, PHOTO = "photos", "photo"
CHUNK = 128  # photos decoded between two writes
log = logging.getLogger(__name__)


class Beside(Protocol):
    """What else is to be kept of each photo that is packed, seen in the same reading of it."""

    def look(self, content: bytes) -> Any:  # noqa: ANN401 - what `add` takes
        """Return what is seen of a file; several threads call this."""

    def add(self, keys: np.ndarray, looks: list[Any]) -> None:
        """Keep what was seen of photos, by their keys `(B,)`."""


@dataclass(frozen=True)
class PhotoStore:
    """The packed photos of a catalogue, in the order of its table.

    They aren't deleted for as long as there is one of these, where the disk has locks.

    Attributes:
        shards: Holds them, and those of other catalogues.
        ids: The id of each photo, `(N,)`; none in a worker process.
        keys: The key of each photo, `(N,)` V16; none in a worker process.
        records: The place of each photo in `shards`, `(N,)` int64.
        input_size: H and W, in pixels.
        unreadable: Maps the ids whose photo could not be decoded to the reason; they are white.
    """

    shards: ShardedStore
    ids: pd.Index
    keys: np.ndarray
    records: np.ndarray
    input_size: int
    unreadable: dict[str, str]

    def __len__(self) -> int:
        """Return N."""
        return len(self.records)

    def take(self, places: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return photos by their places `(B,)` in [0, N), `(B, H, W, 3)` uint8, in `out` if passed.

        Raises:
            IndexError: There is no such place.
        """
        check_places(places, len(self))
        return self.shards.take(PHOTO, self.records[places], out)

    def slots(self, ids: Iterable[str]) -> np.ndarray:
        """Return the places of photos, `(B,)`, by their ids.

        Raises:
            KeyError: There is no such id.
        """
        wanted = pd.Index(ids)
        places: np.ndarray = self.ids.get_indexer(wanted)
        if (places < 0).any():
            raise KeyError(wanted[places < 0][0])
        return places

    def __getstate__(self) -> dict[str, object]:
        """Leave behind what a worker process, which asks by places, doesn't need."""
        nothing = {"ids": pd.Index([]), "keys": self.keys[:0], "unreadable": {}}
        return {**self.__dict__, **nothing}


def open_store(
    root: CatalogueRoot,
    table: pd.DataFrame,
    input_size: int,
    fit: str,
    interpolation: str,
    cache_dir: Path,
    *,
    beside: Beside | None = None,
) -> PhotoStore:
    """Open the store of these photos, packing first those that aren't in it.

    A photo is packed anew when its content, its name or one of the settings is another; what was
    packed before an interruption stays. Of two processes that want the same photos, the second
    waits for the first. A store that has them all is read without a lock; what it lost, as the
    sizes of its files tell, is packed again.

    Args:
        root: Reads the photos.
        table: The catalogue table, columns `id` and `photo`.
        input_size: Side of the square, in pixels.
        fit: See `decode_image`.
        interpolation: See `decode_image`.
        cache_dir: The folder of all stores.
        beside: What else is to be kept of those that are packed.

    Raises:
        ValueError: `fit` or `input_size` is unknown.
        OSError: The disk lacks the room, or the folder can't be written.
    """
    if fit not in FITS:
        raise ValueError(f"data.fit={fit!r} is unknown; pass {' or '.join(FITS)}.")
    if input_size < 1:
        raise ValueError(f"model.input_size={input_size} must be a number of pixels above 0.")
    shards, keys = _shards(input_size, fit, interpolation, cache_dir), root.keys(table["photo"])
    if (shards.find(keys) < 0).any():
        decode = partial(decode_image, input_size=input_size, fit=fit, interpolation=interpolation)
        with shards.adding() as adder:  # after a process that may have packed some of them
            _pack(shards, adder, _absent(shards, keys, table), root.read, decode, beside)
    ids, records, notes = pd.Index(table["id"]), shards.find(keys), shards.notes
    unreadable = np.flatnonzero(np.isin(records, list(notes)))
    reasons = {ids[place]: notes[records[place]] for place in unreadable}
    return PhotoStore(shards, ids, keys, records, input_size, reasons)


def num_absent(
    root: CatalogueRoot,
    table: pd.DataFrame,
    input_size: int,
    fit: str,
    interpolation: str,
    cache_dir: Path,
) -> int:
    """Return how many photos `open_store` would pack.

    Raises:
        OSError: The store can't be read.
    """
    shards, keys = _shards(input_size, fit, interpolation, cache_dir), root.keys(table["photo"])
    return len(_absent(shards, keys, table)[0])


def store_bytes(num_photos: int, input_size: int) -> int:
    """Return what photos take of the disk, in bytes."""
    return num_photos * input_size * input_size * 3


def _shards(input_size: int, fit: str, interpolation: str, cache_dir: Path) -> ShardedStore:
    facts = {"input_size": input_size, "fit": fit, "interpolation": interpolation}
    fields = [Field(PHOTO, (input_size, input_size, 3), "uint8")]
    with reading(cache_dir):
        return ShardedStore(cache_dir / KIND / store_key(facts, fields), fields, facts)


def _absent(
    shards: ShardedStore, keys: np.ndarray, table: pd.DataFrame
) -> tuple[np.ndarray, "pd.Series[str]"]:
    """Return keys and names of the photos that a store lacks, each once."""
    lacking = np.flatnonzero(shards.find(keys) < 0)
    _, first = np.unique(keys[lacking], return_index=True)
    at = lacking[np.sort(first)]
    return keys[at], table["photo"].iloc[at]


def _pack(
    shards: ShardedStore,
    adder: Adder,
    absent: tuple[np.ndarray, "pd.Series[str]"],
    read: Callable[[str], bytes],
    decode: Callable[[bytes], np.ndarray],
    beside: Beside | None,
) -> None:
    """Decode the photos that a store lacks, and add them."""
    keys, names = absent
    field = shards.fields[0]
    white = np.full(field.shape, 255, np.uint8)

    def look(name: str) -> tuple[np.ndarray | str, object]:
        try:
            content = read(name)
        except ValueError as error:  # damaged in its zip, or too large
            return str(error), beside.look(b"") if beside else None
        photo = decode_or_say_why(partial(decode, content))
        return photo, beside.look(content) if beside else None

    _check_room(shards, len(keys))
    bar = tqdm(total=len(keys), desc="Packing photos", unit="photo", disable=None)
    with ThreadPoolExecutor(usable_cores()) as pool, bar:
        for start in range(0, len(keys), CHUNK):
            part = slice(start, start + CHUNK)
            photos, looks = zip(*pool.map(look, names[part]), strict=True)
            reasons = {place: each for place, each in enumerate(photos) if isinstance(each, str)}
            squares = np.stack([white if isinstance(each, str) else each for each in photos])
            adder.add(keys[part], {PHOTO: squares}, reasons)
            if beside:
                beside.add(keys[part], list(looks))
            bar.update(len(photos))


def _check_room(shards: ShardedStore, num_photos: int) -> None:
    input_size, cache_dir = shards.fields[0].shape[0], shards.cache_dir
    num_bytes = store_bytes(num_photos, input_size)
    free = shutil.disk_usage(shards.folder.parent).free
    size = f"{many(num_photos, 'photo')} at {input_size} px take {size_text(num_bytes)}"
    if num_bytes > free:
        raise OSError(
            f"data.cache_dir={str(cache_dir)!r}: {size}, but {size_text(free)} are "
            "free. Pass data.cache_dir on a larger disk, a smaller model.input_size, or delete "
            "stores (fashion cache)."
        )
    log.info("%s in %s", size, shards.folder)
