"""ThumbnailStore: the thumbnails of photos on disk, each made once, by whoever has its file."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fashion.cache_folder import reading
from fashion.cores import usable_cores
from fashion.shards import ShardedStore, store_key
from fashion.twins.thumbnails import FIELDS, Look, look, thumbnails

KIND = "thumbnails"
VERSION = 1  # raised whenever the same photos have other thumbnails
CHUNK = 256  # photos looked at between two steps of the bar
KEPT_BACK = 8_192  # thumbnails in memory between two shards, 100 MB


class Thumbnails:
    """The thumbnails of N photos, which stay on disk.

    Args:
        shards: Has them, those of other photos among them.
        places: `(N,)` int64 of each photo in `shards`.
    """

    def __init__(self, shards: ShardedStore, places: np.ndarray) -> None:
        self._shards = shards
        self._places = places

    def __len__(self) -> int:
        """Return N."""
        return len(self._places)

    def take(self, name: str, photos: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return one of `FIELDS` of some photos, `(n, ...)`; the pages read don't stay in memory.

        Args:
            name: The field's.
            photos: Numbers `(n,)` in [0, N), or a part of these.
        """
        taken = self._shards.take(name, self._places[photos])
        self._shards.release(name)
        return taken

    def of(self, photos: np.ndarray) -> "Thumbnails":
        """Return the thumbnails of some photos."""
        return Thumbnails(self._shards, self._places[photos])


class ThumbnailStore:
    """The thumbnails in a cache folder.

    Nobody is kept from it while photos are looked at: what was seen is written in between, and what
    two processes saw at once is kept once.

    Args:
        cache_dir: The folder of all stores.

    Raises:
        OSError: It can't be read.
    """

    def __init__(self, cache_dir: Path) -> None:
        facts = {"version": VERSION}
        with reading(cache_dir):
            self._shards = ShardedStore(cache_dir / KIND / store_key(facts, FIELDS), FIELDS, facts)
        self._kept_back: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []

    def missing(self, keys: np.ndarray) -> np.ndarray:
        """Return which of some photos have no thumbnails yet, `(M,)` int64, equal ones once.

        Args:
            keys: `(N,)` V16, as `CatalogueRoot.keys` returns them.
        """
        absent = np.flatnonzero(self._shards.find(keys) < 0)
        return absent[np.sort(np.unique(keys[absent], return_index=True)[1])]

    def of(self, keys: np.ndarray) -> Thumbnails:
        """Return the thumbnails of photos, all of which are there.

        Args:
            keys: `(N,)` V16.
        """
        return Thumbnails(self._shards, self._shards.find(keys))

    @contextmanager
    def adding(self) -> Iterator["ThumbnailStore"]:
        """Keep what is added in this block, whatever ends it.

        Raises:
            OSError: The folder can't be written.
        """
        try:
            yield self
        finally:
            self._write()

    def look(self, content: bytes) -> Look:
        """Look at a photo's file; several threads may do so at once."""
        return look(content)

    def add(self, keys: np.ndarray, looks: Sequence[Look]) -> None:
        """Keep what was seen of photos, within `adding`.

        Args:
            keys: `(B,)` V16; those that are there already are passed over.
            looks: As `look` returned them.
        """
        self.keep(keys, thumbnails(looks))

    def keep(self, keys: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
        """Keep thumbnails, within `adding`, as `thumbnails` returned them."""
        self._kept_back.append((keys, arrays))
        if sum(len(keys) for keys, _ in self._kept_back) >= KEPT_BACK:
            self._write()

    def fill(self, keys: np.ndarray, photos: Sequence[str], read: Callable[[str], bytes]) -> None:
        """Look at the photos that have no thumbnails yet.

        Args:
            keys: `(N,)` V16.
            photos: The name of each.
            read: Returns the file of a name.

        Raises:
            OSError: A photo can't be read now, or the folder can't be written.
        """
        absent = self.missing(keys)
        if not len(absent):
            return
        bar = tqdm(total=len(absent), desc="Looking for twins", unit="photo", disable=None)
        with ThreadPoolExecutor(usable_cores()) as pool, self.adding(), bar:
            for start in range(0, len(absent), CHUNK):
                part = absent[start : start + CHUNK]
                names = [photos[place] for place in part]
                self.add(keys[part], list(pool.map(lambda name: _look(read, name), names)))
                bar.update(len(part))

    def _write(self) -> None:
        kept_back, self._kept_back = self._kept_back, []
        if not kept_back:
            return
        with self._shards.adding() as adder:
            for keys, arrays in kept_back:
                new = self._shards.find(keys) < 0
                adder.add(keys[new], {name: array[new] for name, array in arrays.items()})


def _look(read: Callable[[str], bytes], name: str) -> Look:
    try:
        content = read(name)
    except ValueError:  # damaged in its zip, or too large
        content = b""
    return look(content)
