"""From checkpoints to labels of any photos.

Photo files, folders and zips are labelled with the five likeliest classes each, several checkpoints
by the mean of their probabilities.
"""

import csv
import io
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from fashion.catalogue.containers import PHOTO_SUFFIXES, Archive, is_photo
from fashion.catalogue.images import decode_image
from fashion.data.photo_store import decode_or_say_why
from fashion.devices.accelerators import device_name
from fashion.files import replacing, write_file
from fashion.metrics.calibration import Calibration
from fashion.metrics.predictions import mean_probabilities
from fashion.models.checkpoints import read as load_checkpoint
from fashion.tables import mark_text
from fashion.training.classifier import ProductClassifier
from fashion.training.run_folder import RunFolder

TOP = 5
SPEED_BATCH, SPEED_SECONDS = 32, 2.0  # photos, and for how long they are labelled again and again
Photo = tuple[str, Callable[[], bytes]]


class Labeller(NamedTuple):
    """A checkpoint's model, ready to label photos.

    Attributes:
        classifier: In eval mode.
        preprocessing: Arguments of `fashion.catalogue.images.decode_image`.
        calibration: Of its probabilities; None in a checkpoint that has none.
    """

    classifier: ProductClassifier
    preprocessing: dict[str, Any]
    calibration: Calibration | None


def load_classifier(checkpoint: dict[str, Any]) -> ProductClassifier:
    """Rebuild a run's model from what `load_checkpoint` returned, in eval mode."""
    hparams = {**checkpoint["hyper_parameters"], "pretrained": False, "weights": None}
    classifier = ProductClassifier(**hparams)
    classifier.load_state_dict(checkpoint["state_dict"])
    return classifier.eval()


def load_calibration(checkpoint: dict[str, Any]) -> Calibration | None:
    """Return the calibration that a checkpoint keeps, if it keeps one.

    Raises:
        ValueError: What it keeps is none.
    """
    state = checkpoint.get("calibration")
    return None if state is None else Calibration.from_state(state)


def load_labellers(ckpt_paths: Sequence[str | Path]) -> list[Labeller]:
    """Load the models of checkpoints.

    Raises:
        FileNotFoundError: One doesn't exist.
        ValueError: One is none, or they tell different classes apart.
    """
    checkpoints = [load_checkpoint(path) for path in ckpt_paths]
    names = [checkpoint["hyper_parameters"]["class_names"] for checkpoint in checkpoints]
    for path, other in zip(ckpt_paths, names, strict=True):
        if sorted(other) != sorted(names[0]):
            raise ValueError(
                f"ckpt_path={str(path)!r} tells other classes apart than "
                f"ckpt_path={str(ckpt_paths[0])!r}; pass checkpoints of the same classes."
            )
    return [
        Labeller(load_classifier(each), each["preprocessing"], load_calibration(each))
        for each in checkpoints
    ]


def inference_speed(run_dir: Path) -> float | None:
    """Return how many photos a second a run's best checkpoint labels on this machine.

    It is measured once a machine, in batches of 32 as `predict_photos` computes them, without
    reading and decoding, and kept in the run's `inference.json`.

    Returns:
        Photos a second, or None without a checkpoint.
    """
    ckpt_path, path = RunFolder(run_dir).best, run_dir / "inference.json"
    if not ckpt_path.is_file():
        return None
    device = _device()
    key = device_name(device)
    known: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
    if key not in known or path.stat().st_mtime < ckpt_path.stat().st_mtime:
        checkpoint = load_checkpoint(ckpt_path)
        classifier = load_classifier(checkpoint).to(device)
        side = checkpoint["preprocessing"]["input_size"]
        photos = torch.zeros(SPEED_BATCH, 3, side, side, dtype=torch.uint8, device=device)
        known[key] = round(SPEED_BATCH / _median_seconds(lambda: classifier(photos)), 1)
        write_file(path, json.dumps(known, indent=2) + "\n")
    return known[key]


def _median_seconds(compute: Callable[[], torch.Tensor]) -> float:
    """Time a computation again and again, its result brought to the host each time."""
    times: list[float] = []
    with torch.inference_mode():
        compute().cpu()  # the first one also prepares
        while not times or sum(times) < SPEED_SECONDS:
            started = time.perf_counter()
            compute().cpu()
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def find_photos(paths: list[str]) -> list[Photo]:
    """List the photos of files, folders and zips as (name, function that reads it).

    Raises:
        FileNotFoundError: A path doesn't exist, or there is no photo at all.
        ValueError: A zip is damaged.
    """
    photos: list[Photo] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(
                f"{str(path)!r} does not exist; pass photo files, folders or zips."
            )
        if path.is_dir():
            files = sorted(
                Path(parent, name) for parent, _, names in os.walk(path) for name in names
            )
            photos += [(str(file), file.read_bytes) for file in files if is_photo(file.name)]
        elif path.suffix.lower() == ".zip":
            photos += _photos_in_zip(path)
        else:
            photos.append((str(path), path.read_bytes))
    if not photos:
        kinds = ", ".join(PHOTO_SUFFIXES)
        raise FileNotFoundError(f"There is no photo ({kinds}) in {', '.join(map(repr, paths))}.")
    return photos


def predict_photos(
    labellers: Sequence[Labeller], photos: list[Photo], batch_size: int
) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yield each photo's name with its probabilities, or what is wrong with it.

    The probabilities, `(K,)` float32, are calibrated where that is known, the mean over the models,
    and in the order of the first model's classes.
    """
    device = _device()
    for labeller in labellers:
        labeller.classifier.to(device)
    kinds: list[dict[str, Any]] = []  # each way of decoding once
    for labeller in labellers:
        if labeller.preprocessing not in kinds:
            kinds.append(labeller.preprocessing)

    def decode(photo: Photo) -> list[np.ndarray] | str:
        content: bytes | None = None

        def read_and_decode(kind: dict[str, Any]) -> np.ndarray:
            nonlocal content
            content = photo[1]() if content is None else content
            return decode_image(content, **kind)

        decoded = [decode_or_say_why(partial(read_and_decode, kind)) for kind in kinds]
        wrong = [each for each in decoded if isinstance(each, str)]
        return wrong[0] if wrong else [each for each in decoded if not isinstance(each, str)]

    order = [_order(labellers[0], labeller) for labeller in labellers]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(photos), batch_size):
            chunk = photos[start : start + batch_size]
            decoded = list(pool.map(decode, chunk))
            readable = [images for images in decoded if not isinstance(images, str)]
            means = [
                _probabilities(
                    labeller, [images[kinds.index(labeller.preprocessing)] for images in readable]
                )
                for labeller in labellers
            ]
            columns = [each[:, places] for each, places in zip(means, order, strict=True)]
            probabilities = iter(mean_probabilities(columns))
            for (name, _), images in zip(chunk, decoded, strict=True):
                yield name, images if isinstance(images, str) else next(probabilities)


def _order(first: Labeller, other: Labeller) -> list[int]:
    """Return where another model has the first one's classes."""
    places = {name: place for place, name in enumerate(other.classifier.class_names)}
    return [places[name] for name in first.classifier.class_names]


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _probabilities(labeller: Labeller, images: list[np.ndarray]) -> np.ndarray:
    classifier = labeller.classifier
    if not images:
        return np.empty((0, len(classifier.class_names)), np.float32)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(classifier.device)
    with torch.inference_mode():
        probabilities: np.ndarray = classifier(batch).float().softmax(dim=1).cpu().numpy()
    calibration = labeller.calibration
    return probabilities if calibration is None else calibration.calibrate(probabilities)


def write_predictions(
    path: Path,
    class_names: list[str],
    rows: Iterator[tuple[str, np.ndarray | str]],
    threshold: float | None = None,
) -> dict[str, int]:
    """Write one CSV row a photo and return how many were `labelled`, `refused` and `unreadable`.

    The columns are `photo`, `label_1`, `probability_1` … up to five, `sure` (yes or no) where a
    threshold is given, and `error`. A label below the threshold stands there and counts as refused.
    """
    top = min(TOP, len(class_names))
    columns = [
        f"{kind}_{place}" for place in range(1, top + 1) for kind in ("label", "probability")
    ]
    counts = dict.fromkeys(("labelled", "refused", "unreadable"), 0)
    verdict = [] if threshold is None else ["sure"]
    encoded = partial(io.TextIOWrapper, newline="", encoding="utf-8", errors="surrogateescape")
    with replacing(path) as raw, encoded(raw) as file:
        writer = csv.writer(file)
        writer.writerow(["photo", *columns, *verdict, "error"])
        for name, outcome in rows:
            if isinstance(outcome, str):
                counts["unreadable"] += 1
                blank = [""] * len([*columns, *verdict])
                writer.writerow([mark_text(name), *blank, mark_text(outcome)])
                continue
            best = np.argsort(-outcome, kind="stable")[:top]
            labels = [(mark_text(class_names[k]), f"{outcome[k]:.6f}") for k in best]
            cells = [cell for label in labels for cell in label]
            is_sure = threshold is None or outcome.max() >= threshold
            counts["labelled" if is_sure else "refused"] += 1
            said = [] if threshold is None else ["yes" if is_sure else "no"]
            writer.writerow([mark_text(name), *cells, *said, ""])
    return counts


def _photos_in_zip(path: Path) -> list[Photo]:
    try:
        archive = Archive(path)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not a complete zip file ({error}).") from error
    names = [str(name) for name in archive.names() if is_photo(name.name)]
    return [(f"{path}/{name}", partial(archive.read, name)) for name in names]


def find_threshold(labellers: Sequence[Labeller], precision: str) -> float:
    """Return the confidence that a label needs to be right as often as is wanted.

    Raises:
        ValueError: The precision is no number in (0, 1] or out of reach, there are several models,
            or the model has no calibration.
    """
    try:
        wanted = float(precision)
    except ValueError:
        raise ValueError(f"precision={precision!r} must be above 0 and at most 1.") from None
    if len(labellers) > 1:
        raise ValueError(
            f"precision={precision} needs the threshold of one model; pass one ckpt_path."
        )
    calibration = labellers[0].calibration
    if calibration is None:
        raise ValueError(
            f"precision={precision}: the checkpoint is from before there were calibrations. Run "
            "fashion evaluate ckpt_path=… once, which adds it."
        )
    return calibration.threshold(wanted)
