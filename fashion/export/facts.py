"""What a bundle says of its checkpoints: how they were trained, and what was measured of them."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fashion.bundles.manifest import Attribute, Calibrated
from fashion.labelling.checkpoint_models import (
    heads_of,
    load_attribute_calibrations,
    load_calibration,
)
from fashion.metrics.calibration import PRECISIONS
from fashion.metrics.intervals import figure_intervals, wilson
from fashion.metrics.metrics import FIGURES
from fashion.metrics.predictions import Predictions, mean_predictions, score_predictions
from fashion.metrics.resampling import affordable_resamples, bootstrap
from fashion.metrics.scaling import Answered, Calibration, answered_from, choose_threshold
from fashion.training.run_folder import RunFolder
from fashion.training.trained_splits import TrainedSplits

NUM_RESAMPLES = 2000
MOST_ANSWERED = 1000  # thresholds that a bundle keeps
log = logging.getLogger(__name__)


class Source(NamedTuple):
    """A checkpoint and its file."""

    path: Path
    checkpoint: Mapping[str, Any]

    @property
    def run(self) -> RunFolder:
        """The run's folder, which may be gone."""
        return RunFolder.of_checkpoint(self.path)


def predictions_of(sources: Sequence[Source], split: str) -> Predictions | None:
    """Return what the checkpoints, in their mean, said of a split when they were trained.

    Returns:
        None where a run's folder doesn't tell, or where they were asked of other photos.
    """
    found = [_predictions(source, split) for source in sources]
    parts = [part for part in found if part is not None]
    if len(parts) < len(sources):
        return None
    if len(parts) == 1:
        return parts[0]
    first = parts[0].sorted_by_id()
    for part in parts[1:]:
        other = part.sorted_by_id()
        is_same = first.class_names == other.class_names
        if not is_same or not np.array_equal(first.image_ids, other.image_ids):
            return None
        if not np.array_equal(first.targets, other.targets):
            return None
    attributes = {
        name: mean_predictions([part.attributes[name] for part in parts])
        for name in first.attributes
        if all(name in part.attributes for part in parts)
    }
    return replace(mean_predictions(parts), attributes=attributes)


def _predictions(source: Source, split: str) -> Predictions | None:
    """Return a run's predictions where they are of this very checkpoint."""
    path = source.run.predictions(split)
    if source.path.absolute() != source.run.best or not path.is_file():
        return None
    try:
        predictions = Predictions.load(path)
    except (OSError, ValueError) as error:
        log.warning("%s is left aside: %s", path, error)
        return None
    calibration = load_calibration(source.checkpoint)
    temperature = calibration.temperature if calibration else None
    names = tuple(source.checkpoint["hyper_parameters"]["class_names"])
    is_its = predictions.class_names == names and predictions.temperature == temperature
    of_attributes = load_attribute_calibrations(source.checkpoint)
    told = {name: each.temperature for name, each in predictions.attributes.items()}
    known = {name: each.temperature for name, each in of_attributes.items() if name in told}
    is_its = is_its and {name: told[name] for name in known} == known
    return predictions if is_its else None


def measured(predictions: Predictions) -> dict[str, Any]:
    """Return the figures of a split, each with its 95 % interval, and their photos' number."""
    scores = score_predictions(predictions)
    num_photos, num_classes = predictions.probabilities.shape
    number = affordable_resamples(num_photos, num_classes, NUM_RESAMPLES)
    ends = figure_intervals(scores, bootstrap(predictions, number), num_photos)
    figures = {
        name: {
            "value": round(scores[name], 4),
            "low": round(ends[f"{name}_low"], 4),
            "high": round(ends[f"{name}_high"], 4),
        }
        for name in FIGURES
    }
    others = {name: measured(each) for name, each in predictions.attributes.items()}
    return {
        "split": "test",
        "photos": num_photos,
        **figures,
        **_without_twins(predictions),
        **({"attributes": others} if others else {}),
    }


def _without_twins(predictions: Predictions) -> dict[str, Any]:
    """Return the accuracy on the photos whose picture isn't in the training split, if known."""
    if predictions.has_twin is None or predictions.has_twin.all():
        return {}
    hits = predictions.hits()[~predictions.has_twin]
    share = float(hits.mean())
    low, high = wilson(share, len(hits))
    ends = {"low": round(low, 4), "high": round(high, 4)}
    return {"without_twins": {"photos": len(hits), "accuracy": {"value": round(share, 4), **ends}}}


def calibrated(sources: Sequence[Source]) -> Calibrated:
    """Return what the validation split says of the probabilities.

    Of several checkpoints it is of the mean of their calibrated probabilities.
    """
    if len(sources) == 1:
        return _of_one(load_calibration(sources[0].checkpoint))
    return _of_mean(predictions_of(sources, "val"))


def attributes(sources: Sequence[Source]) -> dict[str, Attribute]:
    """Return what the checkpoints tell beside the label, as `calibrated` does for that."""
    heads = heads_of(sources[0].checkpoint)
    if not heads.attributes:
        return {}
    if len(sources) == 1:
        known = load_attribute_calibrations(sources[0].checkpoint)
        return {
            name: Attribute(values, _of_one(known.get(name)))
            for name, values in heads.attributes.items()
        }
    validated = predictions_of(sources, "val")
    told = {} if validated is None else validated.attributes
    return {
        name: Attribute(values, _of_mean(told.get(name)))
        for name, values in heads.attributes.items()
    }


def _of_one(calibration: Calibration | None) -> Calibrated:
    if calibration is None:
        return Calibrated(temperature=1.0)
    return Calibrated(
        temperature=calibration.temperature,
        photos=len(calibration.hits),
        curve=_thinned(calibration.curve()),
    )


def _of_mean(predictions: Predictions | None) -> Calibrated:
    if predictions is None:
        return Calibrated()
    confidences = predictions.confidences.clip(max=np.float32(1))
    curve = answered_from(confidences, predictions.hits())
    return Calibrated(photos=len(confidences), curve=_thinned(curve))


def _thinned(curve: Sequence[Answered]) -> tuple[Answered, ...]:
    """Return some of a long curve: its end, and what the usual precisions need, among them."""
    if len(curve) <= MOST_ANSWERED:
        return tuple(curve)
    places = {*np.linspace(0, len(curve) - 1, MOST_ANSWERED).astype(int).tolist()}
    for precision in PRECISIONS:
        places.add(next((n for n, each in enumerate(curve) if each.precision >= precision), 0))
    return tuple(curve[place] for place in sorted(places))


def thresholds(calibration: Calibrated) -> dict[str, float]:
    """Return the confidences for the usual precisions, without those out of reach."""
    curve = calibration.curve
    reached = [each for each in PRECISIONS if curve and curve[-1].precision >= each]
    return {str(precision): choose_threshold(curve, precision) for precision in reached}


def training(source: Source) -> dict[str, Any]:
    """Return how a checkpoint came about, without any path of this machine."""
    checkpoint = source.checkpoint
    config = checkpoint["run"].get("config") or {}
    sha256 = checkpoint.get("FashionDataModule", {}).get("splits_sha256")
    table = TrainedSplits(source.run, sha256 or "").table
    settings = checkpoint["hyper_parameters"]
    text = json.dumps(config, sort_keys=True, default=str)
    return {
        "run": source.run.path.name,
        "backbone": settings["backbone"],
        "weights": _weights(config.get("model", {}), settings["backbone"]),
        "config_sha256": hashlib.sha256(text.encode()).hexdigest() if config else None,
        "split_sha256": sha256,
        "photos": None if table is None else int((table["split"] == "train").sum()),
        "epochs": len(checkpoint["run"].get("epochs", ())),
        "drawn_sample": bool(config) and config["data"].get("root") is None,
    }


def _weights(model: Mapping[str, Any], backbone: str) -> str | None:
    """Return what the training began with; None where the checkpoint doesn't say."""
    if not model:
        return None
    if model.get("weights"):
        return Path(model["weights"]).name
    return f"timm's {backbone}" if model.get("pretrained") else "random numbers"
