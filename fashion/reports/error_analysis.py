"""What a finished model mistakes, what it can't know, and what harms it.

What needs the model or the photos for pages of `fashion.reports.report`, which has neither.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from lightning import Trainer
from numpy.typing import NDArray

from fashion.data.datamodule import FashionDataModule
from fashion.metrics.predictions import Predictions, confused_pairs
from fashion.metrics.scaling import Calibration
from fashion.reports.activation_maps import can_map, class_activation_maps, overlay
from fashion.reports.corruptions import CORRUPTIONS
from fashion.reports.names_section import NamesReport
from fashion.reports.pages import Gallery, Sheet, array_uri
from fashion.reports.parts import Parts
from fashion.training.classifier import ProductClassifier
from fashion.training.inference import predict_changed, predict_unknown
from fashion.wording import many

PAIRS, IN_PAIR = 10, 10  # confused pairs that are shown, and photos of each
MAPS = 12  # mistakes whose class-activation maps are shown
MAX_UNKNOWN = 500  # photos of labels that the model doesn't know
CHANGED = (10, 500)  # photos that are changed: fewer would tell nothing, more hardly more

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ErrorAnalysis:
    """What a report shows beside the predictions.

    Attributes:
        calibration: Of the validation split; None where there is none.
        unknown: `(M,)` calibrated confidences of photos whose label the model doesn't know, or was
            dropped as rare; None where there are none.
        trained_on: `(N,)` which of the photos the model was trained on; None where that isn't
            known.
        robustness: `name`, `level`, `accuracy` and `support` of some photos under each change,
            `unchanged` first; empty where it wasn't asked for.
        pairs: A sheet of photos for each of the most confused pairs.
        unread: How many of these photos are shown as the network sees them, for want of a file.
        maps: A sheet with the class-activation maps of a mistake each.
        names: What names say beside the photos; None where nobody reads them.
    """

    calibration: Calibration | None = None
    unknown: NDArray[np.float32] | None = None
    trained_on: NDArray[np.bool_] | None = None
    robustness: pd.DataFrame = field(default_factory=pd.DataFrame)
    pairs: list[Sheet] = field(default_factory=list)
    unread: int = 0
    maps: list[Sheet] = field(default_factory=list)
    names: NamesReport | None = None


def analyse_errors(
    trainer: Trainer,
    classifier: ProductClassifier,
    datamodule: FashionDataModule,
    predictions: Predictions,
    split: str,
    *,
    calibration: Calibration | None,
    robustness_photos: int | None,
    parts: Parts,
) -> ErrorAnalysis:
    """Look at a model's mistakes on a split; all processes take part in the predictions.

    Args:
        trainer: As in `fashion.training.inference.predict_split`.
        classifier: The model, its weights loaded.
        datamodule: Its catalogue.
        predictions: Of the split.
        split: `train`, `val`, `test` or `all`.
        calibration: Of the validation split.
        robustness_photos: How many of the photos are changed and predicted again; 0: none. None:
            as many as cost, with the photos of dropped labels, no more than the split did.
        parts: Makes what is looked at.
    """
    model = (trainer, classifier, datamodule)
    is_trial: bool = trainer.fast_dev_run  # type: ignore[attr-defined]
    num_photos, splits = len(predictions.targets), datamodule.splits
    most_unknown = min(MAX_UNKNOWN, num_photos // 2) if splits.is_divided else MAX_UNKNOWN
    others = sample_by_id(splits.catalogue.of_no_class, most_unknown)
    unknown, robustness = None, pd.DataFrame()
    if calibration is not None and len(others) and not is_trial:
        scores = parts.make(
            "photos of dropped labels", lambda: _predict_some(*model, others["photo"]), None
        )
        unknown = None if scores is None else calibration.calibrate(scores).max(axis=1)
    num_changed = robustness_photos
    if num_changed is None:
        num_changed = num_changed_photos(num_photos - len(others))
    if num_changed and not is_trial:
        robustness = parts.make(
            "changed photos",
            lambda: measure_robustness(*model, predictions, split, num_changed),
            robustness,
        )
    if not trainer.is_global_zero:
        return ErrorAnalysis()
    photos = splits.rows(split).set_index("id")["photo"]
    gallery = Gallery(datamodule.root)
    pairs: list[Sheet] = parts.make(
        "photos of confused pairs",
        lambda: pair_sheets(predictions, datamodule, photos, gallery),
        [],
    )
    if gallery.unread:
        log.warning("The files of %d photos of confused pairs can't be read", gallery.unread)
    return ErrorAnalysis(
        calibration=calibration,
        unknown=unknown,
        robustness=robustness,
        pairs=pairs,
        unread=gallery.unread,
        maps=parts.make(
            "class-activation maps",
            lambda: map_sheets(classifier, predictions, datamodule),
            [],
        ),
    )


def _predict_some(
    trainer: Trainer,
    classifier: ProductClassifier,
    datamodule: FashionDataModule,
    photos: "pd.Series[str]",
) -> NDArray[np.float32]:
    """Return `predict_unknown` of the photos that can be read.

    Raises:
        OSError: None can.
    """
    scores = predict_unknown(trainer, classifier, datamodule, photos)
    if scores is None:
        raise OSError(f"none of the {len(photos)} photos can be read, such as {photos.iloc[0]!r}")
    if len(scores) < len(photos):
        unread = len(photos) - len(scores)
        log.warning("%d of %d photos of dropped labels can't be read", unread, len(photos))
    return scores


def sample_by_id(rows: pd.DataFrame, num_rows: int) -> pd.DataFrame:
    """Return some rows, drawn by their ids alone: the same ones of a catalogue in any order."""
    draws = [hashlib.sha256(id_.encode(errors="surrogateescape")).digest() for id_ in rows["id"]]
    return rows.iloc[sorted(range(len(rows)), key=draws.__getitem__)[:num_rows]]


def num_changed_photos(num_predictions: int) -> int:
    """Return how many photos can be changed in each way for so many predictions; 0 if too few."""
    fewest, most = CHANGED
    num_photos = min(most, num_predictions // len(CORRUPTIONS))
    return num_photos if num_photos >= fewest else 0


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
        See `ErrorAnalysis.robustness`; the sample is the same for each change and each model.
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


def pair_sheets(
    predictions: Predictions,
    datamodule: FashionDataModule,
    photos: "pd.Series[str]",
    gallery: Gallery,
) -> list[Sheet]:
    """Return photos of the most confused pairs, the most confident mistakes first.

    Args:
        predictions: Of any split.
        datamodule: Its store stands in for files that can't be read any more.
        photos: The name of each photo by its id.
        gallery: Shows them.
    """

    def show(id_: str) -> str:
        return gallery.uri(photos[id_], lambda: array_uri(datamodule.photos([id_])[0]))

    places, predicted = _places(predictions), predictions.predicted
    sheets = []
    for pair in confused_pairs(predictions, top=PAIRS).to_dict("records"):
        true, other = places[pair["true"]], places[pair["predicted"]]
        rows = np.flatnonzero((predictions.targets == true) & (predicted == other))
        probabilities = predictions.calibrated(rows)
        first = np.argsort(-probabilities[:, other], kind="stable")[:IN_PAIR]
        tiles = [
            (
                show(predictions.image_ids[row]),
                f"{predictions.image_ids[row]}: "
                f"{_percent(pair['predicted'], shares[other])}, "
                f"{_percent(pair['true'], shares[true])}",
            )
            for row, shares in zip(rows[first], probabilities[first], strict=True)
        ]
        heading = (
            f"{pair['true']} taken for {pair['predicted']}: {many(pair['count'], 'photo')}, "
            f"{pair['share']:.0%} of {pair['true']}"
        )
        sheets.append(Sheet(heading, tiles))
    return sheets


def _percent(name: str, probability: float) -> str:
    return f"{name}\N{NO-BREAK SPACE}{probability:.0%}"  # no figure alone on a line


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
    predicted, true = predictions.predicted[rows], predictions.targets[rows]
    maps = [_maps(classifier, photos, classes) for classes in (predicted, true)]
    probabilities, names = predictions.calibrated(rows), predictions.class_names
    sheets = []
    for i, row in enumerate(rows):
        tiles = [(array_uri(photos[i]), str(predictions.image_ids[row]))]
        tiles += [
            (
                array_uri(overlay(photos[i], each[i])),
                _percent(names[target], probabilities[i, target]),
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
