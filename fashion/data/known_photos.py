"""Which photos of a catalogue show what other photos do."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from fashion.cores import usable_cores
from fashion.data.preparation import load
from fashion.data.settings import DataSettings
from fashion.twins.across import Side, find_nearest

CHUNK = 256  # photos read between two steps of the bar


class KnownPhotos:
    """A catalogue in which photos are looked for.

    Args:
        settings: Name it.

    Raises:
        FileNotFoundError: No catalogue lies at `data.root`.
        ValueError: It can't be used.
    """

    def __init__(self, settings: DataSettings) -> None:
        loaded = load(settings, keep_rare=True)
        table = loaded.catalogue.table
        self._root, self._cache_dir = loaded.root, settings.cache_folder
        self._photos = table["photo"].tolist()
        self._ids, self._labels = table["id"].tolist(), table["label"].tolist()

    def find(
        self, photos: Sequence[str], read: Callable[[str], bytes]
    ) -> dict[str, list[tuple[str, str]]]:
        """Return the id and label of what shows the same as some photos, by their SHA-256.

        These are all photos of the same bytes or else the nearest twin; a photo that isn't known
        is absent.

        Args:
            photos: Their SHA-256.
            read: Returns the file of one.

        Raises:
            OSError: A photo can't be read now, or the cache can't be written.
        """
        found = self._of_same_bytes({*photos})
        others = [sha256 for sha256 in photos if sha256 not in found]
        if others and self._photos:
            digests = b"".join(bytes.fromhex(sha256)[:16] for sha256 in others)
            ours = Side(np.frombuffer(digests, "V16"), others, read)
            theirs = Side(self._root.keys(self._photos), self._photos, self._root.read)
            nearest = find_nearest(ours, theirs, self._cache_dir)
            for sha256, place in zip(others, nearest.places.tolist(), strict=True):
                if place >= 0:
                    found[sha256].append((self._ids[place], self._labels[place]))
        return dict(found)

    def _of_same_bytes(self, photos: set[str]) -> defaultdict[str, list[tuple[str, str]]]:
        found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        bar = tqdm(total=len(self._photos), desc="Comparing photos", unit="photo", disable=None)
        with ThreadPoolExecutor(usable_cores()) as pool, bar:
            for start in range(0, len(self._photos), CHUNK):
                part = self._photos[start : start + CHUNK]
                for place, digest in enumerate(pool.map(self._digest, part), start):
                    if digest in photos:
                        found[digest].append((self._ids[place], self._labels[place]))
                bar.update(len(part))
        return found

    def _digest(self, photo: str) -> str:
        try:
            return hashlib.sha256(self._root.read(photo)).hexdigest()
        except ValueError:  # damaged in its zip, or too large
            return ""
