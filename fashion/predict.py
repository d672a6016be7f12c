"""From a checkpoint to probabilities, of a split or of any photos.

`python -m fashion.predict ckpt_path=RUN/checkpoints/best.ckpt PHOTOS... [output=predictions.csv]`
labels photo files, folders and zips with the five likeliest classes each.
"""

import csv
import io
import logging
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from tqdm import tqdm

from fashion.accelerators import free_memory
from fashion.classifier import ProductClassifier
from fashion.data import FashionDataModule
from fashion.feature_data import check_mirrors
from fashion.files import replacing
from fashion.images import decode_image
from fashion.report import Predictions
from fashion.root import PHOTO_SUFFIXES, read_entry
from fashion.run import load_checkpoint
from fashion.store import decode_or_say_why
from fashion.tables import mark_text

log = logging.getLogger(__name__)
USAGE = (
    "usage: python -m fashion.predict ckpt_path=FILE PHOTOS... [output=predictions.csv] "
    "[batch_size=64]\n"
    "PHOTOS are photo files, folders (searched through) and zips."
)
SETTINGS = ("ckpt_path", "output", "batch_size")
TOP = 5
Photo = tuple[str, Callable[[], bytes]]


def predict_split(
    trainer: Trainer,
    classifier: ProductClassifier,
    datamodule: FashionDataModule,
    split: str,
    ckpt_path: str | Path | None = None,
) -> Predictions:
    """Predict one split in the order of the catalogue, each photo once.

    Args:
        trainer: Decides device, precision and processes; every process gets all predictions.
        classifier: The model.
        datamodule: Its catalogue, after `setup`.
        split: `train`, `val`, `test` or `all`.
        ckpt_path: Weights to load into the model first.
    """
    loader = datamodule.loader(split, evaluate=True)
    trainer.predict(
        classifier, loader, ckpt_path=ckpt_path or None, return_predictions=False, weights_only=True
    )
    logits, targets, rows = classifier.collect()
    return Predictions(
        image_ids=datamodule.splits.rows(split)["id"].to_numpy(dtype=str)[rows.numpy()],
        probabilities=logits.softmax(dim=1).numpy(),
        targets=targets.numpy(),
        class_names=tuple(classifier.class_names),
        has_twin=datamodule.splits.has_twin(split)[rows.numpy()],
    )


def fill_features(
    trainer: Trainer, classifier: ProductClassifier, datamodule: FashionDataModule
) -> None:
    """Compute what training needs to know of each photo, once, where the model can be cut.

    Raises:
        OSError: The disk lacks the room.
        ValueError: Several TPU hosts take part, the device lacks the room that it was asked for,
            or what crosses the cut can't be mirrored.
    """
    halves = classifier.halves()
    if halves is None:
        log.warning(
            "data.views=%d has no effect: %s can't be cut in two (%s); it trains from the photos",
            *(datamodule.hparams["views"], classifier.hparams["backbone"]),
            classifier.uncut_reason,
        )
        return
    strategy: Any = trainer.strategy
    on_xla = hasattr(strategy, "compute")
    if on_xla and strategy.distributed_sampler_kwargs["num_replicas"] > 1:
        raise ValueError(
            f"data.views={datamodule.hparams['views']}: several TPU hosts can't fill a store "
            "together. Pass data.views=0, or train on one host."
        )
    if datamodule.hparams["views_mirrored"]:
        check_mirrors(halves.cut.crossings, getattr(classifier.backbone, "output_fmt", "NCHW"))
    device = strategy.root_device
    goes_on_device = datamodule.fits_device(device, halves.cut.crossings, free_memory(device))
    num_photos = datamodule.hparams["views"] * len(datamodule.splits.rows("train"))
    classifier.prepare_halves(trainer, num_photos)

    def compute(photos: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if on_xla:
            return strategy.compute(halves.frozen, photos)  # type: ignore[no-any-return]
        features = halves.frozen(photos.to(device))
        return tuple(part.cpu() for part in features)

    datamodule.fill_features(halves.key(), halves.cut.crossings, compute)
    if goes_on_device and on_xla:
        datamodule.keep_on_device(torch.device("cpu"), strategy.keep)
    elif goes_on_device:
        datamodule.keep_on_device(device)


def load_classifier(checkpoint: dict[str, Any]) -> ProductClassifier:
    """Rebuild a run's model from what `fashion.run.load_checkpoint` returned, in eval mode."""
    hparams = {**checkpoint["hyper_parameters"], "pretrained": False, "weights": None}
    classifier = ProductClassifier(**hparams)
    classifier.load_state_dict(checkpoint["state_dict"])
    return classifier.eval()


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
            photos += [(str(file), file.read_bytes) for file in files if _is_photo(file.name)]
        elif path.suffix.lower() == ".zip":
            photos += _photos_in_zip(path)
        else:
            photos.append((str(path), path.read_bytes))
    if not photos:
        kinds = ", ".join(PHOTO_SUFFIXES)
        raise FileNotFoundError(f"There is no photo ({kinds}) in {', '.join(map(repr, paths))}.")
    return photos


def predict_photos(
    classifier: ProductClassifier,
    preprocessing: dict[str, Any],
    photos: list[Photo],
    batch_size: int,
) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yield each photo's name with its probabilities, `(K,)` float32, or what is wrong with it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier.to(device)
    decode: Callable[[bytes], np.ndarray] = partial(decode_image, **preprocessing)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(photos), batch_size):
            chunk = photos[start : start + batch_size]
            decoded = list(
                pool.map(lambda photo: decode_or_say_why(lambda: decode(photo[1]())), chunk)
            )
            images = [image for image in decoded if not isinstance(image, str)]
            probabilities = iter(_probabilities(classifier, images, device))
            for (name, _), image in zip(chunk, decoded, strict=True):
                yield name, image if isinstance(image, str) else next(probabilities)


def _probabilities(
    classifier: ProductClassifier, images: list[np.ndarray], device: torch.device
) -> np.ndarray:
    if not images:
        return np.empty((0, len(classifier.class_names)), np.float32)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return classifier(batch.to(device)).float().softmax(dim=1).cpu().numpy()  # type: ignore[no-any-return]


def write_predictions(
    path: Path, class_names: list[str], rows: Iterator[tuple[str, np.ndarray | str]]
) -> tuple[int, int]:
    """Write one CSV row a photo and return how many photos were labelled and how many not.

    The columns are `photo`, `label_1`, `probability_1` … up to five, and `error`.
    """
    top = min(TOP, len(class_names))
    columns = [
        f"{kind}_{place}" for place in range(1, top + 1) for kind in ("label", "probability")
    ]
    labelled = failed = 0
    encoded = partial(io.TextIOWrapper, newline="", encoding="utf-8", errors="surrogateescape")
    with replacing(path) as raw, encoded(raw) as file:
        writer = csv.writer(file)
        writer.writerow(["photo", *columns, "error"])
        for name, outcome in rows:
            if isinstance(outcome, str):
                failed += 1
                writer.writerow([mark_text(name), *[""] * len(columns), mark_text(outcome)])
                continue
            labelled += 1
            best = np.argsort(-outcome, kind="stable")[:top]
            labels = [(mark_text(class_names[k]), f"{outcome[k]:.6f}") for k in best]
            cells = [cell for label in labels for cell in label]
            writer.writerow([mark_text(name), *cells, ""])
    return labelled, failed


def _photos_in_zip(path: Path) -> list[Photo]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{str(path)!r} is not a complete zip file ({error}).") from error
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    return [
        (f"{path}/{name}", partial(read_entry, archive, name)) for name in names if _is_photo(name)
    ]


def _is_photo(name: str) -> bool:
    return name.lower().endswith(PHOTO_SUFFIXES) and not name.startswith("__MACOSX/")


def _batch_size(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"batch_size={text!r} must be a whole number of 1 or more.")
    return int(text)


def main() -> None:
    """Label photos from the command line."""
    settings: dict[str, str] = {}
    paths: list[str] = []
    for argument in sys.argv[1:]:
        key, _, value = argument.partition("=")
        if key in SETTINGS and value:
            settings[key] = value
        else:
            paths.append(argument)
    if not paths or "ckpt_path" not in settings or {"-h", "--help"} & set(paths):
        sys.exit(USAGE)
    output = Path(settings.get("output", "predictions.csv"))
    try:
        checkpoint = load_checkpoint(settings["ckpt_path"])
        photos = find_photos(paths)
        batch_size = _batch_size(settings.get("batch_size", "64"))
        if not output.parent.is_dir():
            raise FileNotFoundError(f"output={str(output)!r}: there is no folder {output.parent}.")
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    classifier = load_classifier(checkpoint)
    rows = predict_photos(classifier, checkpoint["preprocessing"], photos, batch_size)
    bar = tqdm(rows, total=len(photos), desc="Labelling", unit="photo", disable=None)
    labelled, failed = write_predictions(output, classifier.class_names, iter(bar))
    sys.stdout.write(f"{labelled} photos labelled, {failed} unreadable: {output}\n")


if __name__ == "__main__":
    main()
