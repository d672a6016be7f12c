"""The photos that a run was trained and validated on, with their classes."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from fashion.catalogue.images import decode_image, decode_or_say_why
from fashion.data.preparation import LoadedCatalogue, load
from fashion.data.trained_settings import trained_settings
from fashion.export.facts import Source
from fashion.training.trained_splits import TrainedSplits

BATCH = 64
Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]  # squares `(B, H, W, 3)`, classes `(B,)`
SEED = 0


class Labelled(NamedTuple):
    """Photos of a split: their names, as the catalogue reads them, and their classes `(N,)`."""

    names: list[str]
    classes: NDArray[np.int64]


class RunPhotos:
    """The catalogue of a run whose splits are known.

    Args:
        source: The run's checkpoint.
        asked: The setting that needs them, for messages.

    Raises:
        ValueError: The catalogue or the splits are gone.
    """

    def __init__(self, source: Source, asked: str = "int8") -> None:
        checkpoint = source.checkpoint
        self._class_names = checkpoint["hyper_parameters"]["class_names"]
        self._way: Mapping[str, Any] = checkpoint["preprocessing"]
        subject = (
            f"{asked}=true needs the photos that ckpt_path={str(source.path)!r} was trained on"
        )
        table = splits_of(source)
        if table is None:
            raise ValueError(f"{subject}, but its run's splits.csv isn't there, or is another.")
        try:
            loaded = catalogue_of(checkpoint)
        except (OSError, ValueError) as error:
            raise ValueError(f"{subject}, but its catalogue can't be read: {error}") from error
        self._root = loaded.root
        photos = loaded.catalogue.table.set_index("id")["photo"]
        self._table = table.join(photos, how="inner")

    def split(self, name: str) -> Labelled:
        """Return the photos of `train`, `val` or `test` that are still there."""
        rows = self._table[self._table["split"] == name]
        places = {label: place for place, label in enumerate(self._class_names)}
        classes = rows["label"].map(places).to_numpy(np.int64)
        return Labelled(rows["photo"].tolist(), classes)

    def sample(self, name: str, most: int) -> NDArray[np.uint8]:
        """Return some photos of a split, decoded, `(M, H, W, 3)`: as many of each class as it has.

        They are the same ones at each call.
        """
        names, classes = self.split(name)
        order = np.random.default_rng(SEED).permutation(len(names))
        ranks = np.zeros(len(names))
        for place in np.unique(classes):
            own = order[classes[order] == place]
            ranks[own] = (np.arange(len(own)) + 0.5) / len(own)
        chosen = np.argsort(ranks, kind="stable")[:most]
        squares = (self._decoded(names[place]) for place in chosen)
        return np.stack([square for square in squares if square is not None])

    def batches(self, name: str, title: str) -> Iterator[Batch]:
        """Yield the photos of a split, decoded, `(B, H, W, 3)`, and their classes, with a bar."""
        names, classes = self.split(name)
        with tqdm(total=len(names), desc=title, unit="photo", disable=None) as bar:
            for first in range(0, len(names), BATCH):
                chosen = names[first : first + BATCH]
                decoded = {place: self._decoded(name) for place, name in enumerate(chosen)}
                kept = {place: each for place, each in decoded.items() if each is not None}
                if kept:
                    yield np.stack([*kept.values()]), classes[first:][[*kept]]
                bar.update(len(chosen))

    def _decoded(self, name: str) -> NDArray[np.uint8] | None:
        try:
            content = self._root.read(name)
        except (OSError, ValueError):
            return None
        square = decode_or_say_why(partial(decode_image, content, **self._way))
        return None if isinstance(square, str) else square


def catalogue_of(checkpoint: Mapping[str, Any]) -> LoadedCatalogue:
    """Return the catalogue that a checkpoint's run had, as far as it is still there.

    Raises:
        FileNotFoundError: It isn't.
        ValueError: It can't be read, or the checkpoint doesn't say which it was.
    """
    config = checkpoint["run"].get("config")
    if not config:
        raise ValueError("the checkpoint doesn't say which it was")
    return load(trained_settings(config["data"], {"more": None}))


def splits_of(source: Source) -> pd.DataFrame | None:
    """Return what `TrainedSplits.table` has for the run of a checkpoint."""
    sha256 = source.checkpoint.get("FashionDataModule", {}).get("splits_sha256", "")
    return TrainedSplits(source.run, sha256).table
