"""What is computed of a model's predictions: figures, their intervals, a temperature."""

from pathlib import Path

import numpy as np

from fashion.metrics.calibration import fit_calibration
from fashion.metrics.predictions import Predictions, score_predictions
from fashion.metrics.resampling import affordable_resamples, bootstrap

ROWS = 1000  # drawn at a time


def prepare_metrics(folder: Path, photos: int, classes: int) -> None:
    """Write predictions that are right four times in five, of classes whose sizes differ much."""
    rng = np.random.default_rng(0)
    sizes = 1 / (np.arange(classes) + classes / 10)
    targets = rng.choice(classes, photos, p=sizes / sizes.sum())
    mean = 2 * np.sqrt(2 * np.log(classes)) + 3  # of the target's logit; others spread by 2
    probabilities = np.empty((photos, classes), np.float32)
    for first in range(0, photos, ROWS):
        rows = slice(first, first + ROWS)
        part, places = probabilities[rows], np.arange(len(targets[rows]))
        rng.standard_normal(out=part, dtype=np.float32)
        part *= 2
        part[places, targets[rows]] = rng.normal(mean, 3, len(places))
        np.exp(part, out=part)
        part /= part.sum(axis=1, keepdims=True)
    ids = np.char.zfill(np.arange(photos).astype(np.str_), 8)
    names = tuple(f"class {k}" for k in range(classes))
    Predictions(ids, probabilities, targets, names).save(folder / "predictions.npz")


prepare_bootstrap = prepare_temperature = prepare_metrics


def run_metrics(folder: Path, photos: int, classes: int) -> None:
    """Compute the figures of an epoch's end."""
    score_predictions(_load(folder))


def run_bootstrap(folder: Path, photos: int, classes: int) -> None:
    """Resample the photos for the intervals of a run's figures."""
    bootstrap(_load(folder), affordable_resamples(photos, classes, 2000))


def run_temperature(folder: Path, photos: int, classes: int) -> None:
    """Fit what calibrates the model."""
    predictions = _load(folder)
    fit_calibration(predictions.probabilities, predictions.targets)


def _load(folder: Path) -> Predictions:
    return Predictions.load(folder / "predictions.npz")
