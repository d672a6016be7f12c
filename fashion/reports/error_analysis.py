"""A finished model examined: what it mistakes, what it can't know, what harms it.

What needs the model or the photos for pages of `fashion.reports.report`, which has neither.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning import Trainer
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fashion.catalogue.root import CatalogueRoot
from fashion.data.datamodule import FashionDataModule
from fashion.metrics.calibration import Calibration
from fashion.metrics.predictions import Examination, Predictions, confused_pairs
from fashion.reports.activation_maps import can_map, class_activation_maps, overlay
from fashion.reports.corruptions import CORRUPTIONS
from fashion.reports.pages import Sheet, array_uri, photo_uri
from fashion.training.classifier import ProductClassifier
from fashion.training.inference import predict_changed, predict_split, predict_unknown

PAIRS, IN_PAIR = 10, 10  # confused pairs that are shown, and photos of each
MAPS = 12  # mistakes whose class-activation maps are shown
GROUPS = 4  # of photo sizes


def calibrate(
    trainer: Trainer,
    classifier: ProductClassifier,
    datamodule: FashionDataModule,
    ckpt_path: Path | None = None,
) -> tuple[Calibration, Predictions]:
    """Fit the calibration on the validation split.

    Args:
        trainer: As in `fashion.training.inference.predict_split`.
        classifier: The model.
        datamodule: Its catalogue.
        ckpt_path: Weights to load first.

    Returns:
        The calibration and the predictions it comes from.
    """
    predictions = predict_split(trainer, classifier, datamodule, "val", ckpt_path)
    return Calibration.fit(predictions.probabilities, predictions.targets), predictions


def examine(
    trainer: Trainer,
    classifier: ProductClassifier,
    datamodule: FashionDataModule,
    predictions: Predictions,
    split: str,
    *,
    calibration: Calibration | None,
    robustness_photos: int,
) -> Examination:
    """Look at a model's mistakes on a split; all processes take part in the predictions.

    Args:
        trainer: As in `fashion.training.inference.predict_split`.
        classifier: The model, its weights loaded.
        datamodule: Its catalogue.
        predictions: Of the split.
        split: `train`, `val`, `test` or `all`.
        calibration: Of the validation split.
        robustness_photos: How many of the photos are changed and predicted again; 0: none.
    """
    robustness = pd.DataFrame()
    unknown = None
    is_trial: bool = trainer.fast_dev_run  # type: ignore[attr-defined]
    if not is_trial:
        probabilities = predict_unknown(trainer, classifier, datamodule)
        if probabilities is not None and calibration is not None:
            unknown = calibration.calibrate(probabilities).max(axis=1)
        if robustness_photos:
            robustness = measure_robustness(
                trainer, classifier, datamodule, predictions, split, robustness_photos
            )
    if not trainer.is_global_zero:
        return Examination()
    photos = datamodule.splits.rows(split).set_index("id")["photo"]
    return Examination(
        calibration=calibration,
        unknown=unknown,
        robustness=robustness,
        sizes=accuracy_by_size(predictions, datamodule.root, photos),
        pairs=pair_sheets(predictions, datamodule.root, photos),
        maps=map_sheets(classifier, predictions, datamodule),
    )


def measure_robustness(
    trainer: Trainer,
    classifier: ProductClassifier,
    datamodule: FashionDataModule,
    predictions: Predictions,
    split: str,
    num_photos: int,
) -> pd.DataFrame:
    """Predict a random sample of a split again under each of `CORRUPTIONS`.

    Returns:
        See `Examination.robustness`; the sample is the same for each change and each model.
    """
    n = len(predictions.targets)
    rows = np.sort(np.random.default_rng(0).permutation(n)[:num_photos])
    changes = [corruption.apply for corruption in CORRUPTIONS]
    changed = predict_changed(trainer, classifier, datamodule, split, rows, changes)
    right = changed.argmax(axis=2) == predictions.targets[rows]
    table = [("unchanged", "", predictions.hits()[rows].mean())]
    table += [
        (corruption.name, corruption.level, hits.mean())
        for corruption, hits in zip(CORRUPTIONS, right, strict=True)
    ]
    return pd.DataFrame(table, columns=["name", "level", "accuracy"]).assign(support=len(rows))


def accuracy_by_size(
    predictions: Predictions, root: CatalogueRoot, photos: "pd.Series[str]"
) -> pd.DataFrame:
    """Tabulate the accuracy by the longer side of the photos' files, in groups of like number.

    Args:
        predictions: Of any split.
        root: Reads the photos.
        photos: The name of each photo by its id.

    Returns:
        See `Examination.sizes`.
    """
    sides = np.array([_longer_side(root.read(photos[id_])) for id_ in predictions.image_ids])
    shares = np.linspace(0, 1, GROUPS + 1)[1:]
    # Photos of one size stay in one group, so that there may be fewer groups.
    ends = np.unique(np.quantile(sides, shares, method="inverted_cdf"))
    groups = np.searchsorted(ends, sides, side="left")
    hits = predictions.hits()
    table = []
    for group in np.unique(groups):
        these = groups == group
        low, high = sides[these].min(), sides[these].max()
        words = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        table.append((words, hits[these].mean(), int(these.sum())))
    return pd.DataFrame(table, columns=["photo_px", "accuracy", "support"])


def _longer_side(content: bytes) -> int:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return max(image.size)
    except (UnidentifiedImageError, OSError):  # it was readable when it was packed
        return 0


def pair_sheets(
    predictions: Predictions, root: CatalogueRoot, photos: "pd.Series[str]"
) -> list[Sheet]:
    """Return photos of the most confused pairs, the most confident mistakes first.

    Args:
        predictions: Of any split.
        root: Reads the photos.
        photos: The name of each photo by its id.
    """
    probabilities, places = predictions.calibrated(), _places(predictions)
    predicted = predictions.probabilities.argmax(axis=1)
    sheets = []
    for pair in confused_pairs(predictions, top=PAIRS).to_dict("records"):
        true, other = places[pair["true"]], places[pair["predicted"]]
        rows = np.flatnonzero((predictions.targets == true) & (predicted == other))
        rows = rows[np.argsort(-probabilities[rows, other], kind="stable")][:IN_PAIR]
        tiles = [
            (
                photo_uri(root, photos[predictions.image_ids[row]]),
                f"{predictions.image_ids[row]}: {pair['predicted']} "
                f"{probabilities[row, other]:.0%}, {pair['true']} {probabilities[row, true]:.0%}",
            )
            for row in rows
        ]
        heading = (
            f"{pair['true']} taken for {pair['predicted']}: {pair['count']:,} photos, "
            f"{pair['share']:.0%} of {pair['true']}"
        )
        sheets.append(Sheet(heading, tiles))
    return sheets


def map_sheets(
    classifier: ProductClassifier, predictions: Predictions, datamodule: FashionDataModule
) -> list[Sheet]:
    """Return class-activation maps of a random sample of mistakes, of both classes.

    Args:
        classifier: Its maps are computed where it lies.
        predictions: Of any split.
        datamodule: Its store holds the photos as the network sees them.
    """
    wrong = np.flatnonzero(~predictions.hits())
    if not can_map(classifier) or not len(wrong):
        return []
    rows = np.sort(np.random.default_rng(0).permutation(wrong)[:MAPS])
    photos = datamodule.photos(predictions.image_ids[rows])
    predicted = predictions.probabilities[rows].argmax(axis=1)
    true = predictions.targets[rows]
    maps = [_maps(classifier, photos, classes) for classes in (predicted, true)]
    probabilities, names = predictions.calibrated()[rows], predictions.class_names
    sheets = []
    for i, row in enumerate(rows):
        tiles = [(array_uri(photos[i]), str(predictions.image_ids[row]))]
        tiles += [
            (
                array_uri(overlay(photos[i], each[i])),
                f"{names[target]}, {probabilities[i, target]:.0%}",
            )
            for each, target in zip(maps, (predicted[i], true[i]), strict=True)
        ]
        sheets.append(Sheet(f"{names[true[i]]} taken for {names[predicted[i]]}", tiles))
    return sheets


def _maps(
    classifier: ProductClassifier, photos: NDArray[np.uint8], classes: Sequence[int]
) -> NDArray[np.float32]:
    device = classifier.device
    batch = torch.from_numpy(photos).permute(0, 3, 1, 2).to(device)
    return class_activation_maps(classifier, batch, torch.as_tensor(classes).to(device))


def _places(predictions: Predictions) -> dict[str, int]:
    return {name: place for place, name in enumerate(predictions.class_names)}
