"""What a comparison knows of tests: the photos, which of them a model gets right, its figures.

A sweep asks for it again after each of its jobs. What was computed of a run or an ensemble is kept
in the user's cache folder and found by the contents of the predictions that it is made of, wherever
they lie, so that the probabilities are read once, those of one run at a time.
"""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fashion.data.settings import default_cache_dir
from fashion.files import replacing
from fashion.metrics.metrics import FIGURES
from fashion.metrics.predictions import (
    UNREADABLE,
    Predictions,
    mean_predictions,
    score_predictions,
)
from fashion.metrics.resampling import affordable_resamples, bootstrap

VERSION = 2  # of what is computed


class Photos(NamedTuple):
    """What a model was tested on, in the order of the ids.

    Attributes:
        ids: `(N,)` str.
        targets: `(N,)` in `[0, K)`.
        class_names: `(K,)`.
    """

    ids: NDArray[np.str_]
    targets: NDArray[np.int64]
    class_names: tuple[str, ...]


class Tested(NamedTuple):
    """How a model did.

    Attributes:
        hits: Which photos it gets right, `(N,)`, in the order of the ids.
        scores: Each of `fashion.metrics.metrics.FIGURES`.
        replicates: As `fashion.metrics.resampling.bootstrap` returns them.
    """

    hits: NDArray[np.bool_]
    scores: dict[str, float]
    replicates: dict[str, NDArray[np.float64]]


def read_photos(path: Path) -> Photos:
    """Read what saved predictions are of, without their probabilities.

    Raises:
        ValueError: The file is damaged, or something else.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            ids, targets = stored["image_ids"], stored["targets"]
            order = np.argsort(ids, kind="stable")
            names = tuple(stored["class_names"].tolist())
        return Photos(ids[order], targets[order], names)
    except UNREADABLE as e:
        raise ValueError(f"{path} holds no predictions of this project: {e}") from e


def examine(paths: Sequence[Path], num_resamples: int) -> Tested:
    """Return how a run did, or the ensemble of several; it is kept from then on.

    Args:
        paths: Saved predictions, of the same photos and classes where they are several.
        num_resamples: How many are wanted; fewer are made where they would take too long.

    Raises:
        ValueError: A file is damaged, or something else.
    """
    kept = _cache_dir() / f"{_key(paths, num_resamples)}.npz"
    try:
        return _read(kept)
    except (OSError, *UNREADABLE):  # there is none, or it is damaged
        pass
    if len(paths) == 1:
        predictions = Predictions.load(paths[0]).sorted_by_id()
    else:
        predictions = mean_predictions(Predictions.load(path) for path in paths)
    num_images, num_classes = predictions.probabilities.shape
    number = affordable_resamples(num_images, num_classes, num_resamples)
    tested = Tested(
        predictions.hits(), score_predictions(predictions), bootstrap(predictions, number)
    )
    _keep(kept, tested)
    return tested


def _read(path: Path) -> Tested:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        hits, scores = stored["hits"], stored["scores"]
        replicates = {name: stored[name] for name in FIGURES}
    numbers = (scores, *replicates.values())
    shapes = {part.shape for part in replicates.values()}
    if len(scores) != len(FIGURES) or len(shapes) != 1 or hits.dtype != np.bool_:
        raise ValueError(f"{path} holds something else.")
    if not all(np.isfinite(part).all() for part in numbers):
        raise ValueError(f"{path} holds numbers that are none.")
    return Tested(hits, dict(zip(FIGURES, scores.tolist(), strict=True)), replicates)


def _cache_dir() -> Path:
    return default_cache_dir() / "tested"


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


def _keep(path: Path, tested: Tested) -> None:
    scores = np.array([tested.scores[name] for name in FIGURES])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez(file, hits=tested.hits, scores=scores, **tested.replicates)  # type: ignore[arg-type]
    except OSError:  # no room there, or no right to write: it will be computed again
        return
