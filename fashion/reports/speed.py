"""How fast a run's model labels on this machine, measured once and kept in the user's cache folder.

Runs that are only read may be a colleague's, so that nothing is written into them. What was
measured is found again by the checkpoint's content and the device, wherever a copy of it lies.
"""

import hashlib
import json
import statistics
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fashion.data.settings import default_cache_dir
from fashion.devices.accelerators import device_name
from fashion.files import write_file
from fashion.labelling.checkpoint_models import CheckpointModel, labelling_device
from fashion.models import checkpoints
from fashion.training.run_folder import RunFolder

BATCH, SECONDS = 32, 2.0  # photos, and for how long they are labelled again and again


def inference_speed(run: RunFolder) -> float | None:
    """Return how many photos a second a run's best checkpoint labels on this machine.

    It is measured in batches of 32 as `fashion predict` computes them, without reading and
    decoding.

    Returns:
        Photos a second, or None without a checkpoint.
    """
    ckpt_path = run.best
    if not ckpt_path.is_file():
        return None
    device = device_name(labelling_device())
    kept = _cache_dir() / f"{_key(ckpt_path, device)}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):  # there is none, or it is damaged
        return float(json.loads(kept.read_bytes())["photos_per_second"])
    speed = _measure(ckpt_path)
    _keep(kept, {"device": device, "photos_per_second": speed})
    return speed


def _cache_dir() -> Path:
    return default_cache_dir() / "speeds"


def _key(ckpt_path: Path, device: str) -> str:
    """Return a hash of the checksums that a checkpoint, which is a zip, holds of all its parts."""
    try:
        with zipfile.ZipFile(ckpt_path) as archive:
            parts = [(part.filename, part.CRC, part.file_size) for part in archive.infolist()]
    except zipfile.BadZipFile:
        parts = []  # `checkpoints.read` will say what is wrong
    return hashlib.sha256(f"{device} {parts}".encode()).hexdigest()[:16]


def _measure(ckpt_path: Path) -> float:
    model = CheckpointModel(checkpoints.read(ckpt_path))
    side = model.preprocessing["input_size"]
    seconds = _median_seconds(model, np.zeros((BATCH, side, side, 3), np.uint8))
    return round(BATCH / seconds, 1)


def _median_seconds(model: CheckpointModel, photos: NDArray[np.uint8]) -> float:
    """Time the labelling of a batch again and again, its result brought to the host each time."""
    times: list[float] = []
    model.probabilities(photos)  # the first one also prepares
    while not times or sum(times) < SECONDS:
        started = time.perf_counter()
        model.probabilities(photos)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _keep(path: Path, figures: dict[str, object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(figures, indent=2) + "\n")
    except OSError:  # no room there, or no right to write: it will be measured again
        return
