"""Bootstrapped figures of runs and of their ensembles, kept in the user's cache folder.

A sweep asks for them again after each of its jobs. What was computed is found by the contents of
the predictions that it is made of, wherever they lie.
"""

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fashion.data.settings import default_cache_dir
from fashion.files import replacing
from fashion.metrics.metrics import FIGURES
from fashion.metrics.predictions import UNREADABLE, Predictions
from fashion.metrics.resampling import affordable_resamples, bootstrap

VERSION = 1  # of what is computed
Replicates = dict[str, NDArray[np.float64]]


def kept_bootstrap(
    paths: Sequence[Path], read: Callable[[], Predictions], num_resamples: int
) -> Replicates:
    """Return `fashion.metrics.resampling.bootstrap` of predictions, kept from then on.

    Args:
        paths: The files that they are made of, in their order.
        read: Returns them.
        num_resamples: How many are wanted; fewer are made where they would take too long.
    """
    kept = _cache_dir() / f"{_key(paths, num_resamples)}.npz"
    try:
        with kept.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            replicates = {name: stored[name] for name in FIGURES}
        shapes = {(part.shape, part.dtype.name) for part in replicates.values()}
        if len(shapes) == 1 and all(np.isfinite(part).all() for part in replicates.values()):
            return replicates
    except (OSError, *UNREADABLE):  # there is none, or it is damaged
        pass
    predictions = read()
    num_images, num_classes = predictions.probabilities.shape
    number = affordable_resamples(num_images, num_classes, num_resamples)
    replicates = bootstrap(predictions, number)
    _keep(kept, replicates)
    return replicates


def _cache_dir() -> Path:
    return default_cache_dir() / "resamples"


def _key(paths: Sequence[Path], num_resamples: int) -> str:
    """Return a hash of the checksums that saved predictions, each a zip, hold of their arrays."""
    digest = hashlib.sha256(f"{VERSION} {num_resamples}\n".encode())
    for path in paths:
        try:
            with zipfile.ZipFile(path) as archive:
                parts = [(part.filename, part.CRC, part.file_size) for part in archive.infolist()]
        except zipfile.BadZipFile:
            parts = []  # `Predictions.load` will say what is wrong
        digest.update(f"{parts}\n".encode())
    return digest.hexdigest()[:16]


def _keep(path: Path, replicates: Replicates) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez(file, **replicates)  # type: ignore[arg-type]
    except OSError:  # no room there, or no right to write: it will be computed again
        return
