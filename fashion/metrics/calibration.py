"""How far a model's probabilities can be trusted, and when it should rather not answer."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata
from torchmetrics.functional.classification import multiclass_calibration_error

from fashion.metrics.scaling import (
    TEMPERATURES,
    Calibration,
    confidences_at,
    count_accepted,
    in_blocks,
    logits_of,
)

PRECISIONS = (0.95, 0.98, 0.99)
MOST_IMAGES, MOST_PROBABILITIES = 50_000, 2**24  # that a temperature is fitted on


def fit_temperature(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Find the temperature that minimises the negative log-likelihood of the targets.

    One number needs no more than `MOST_IMAGES` images, nor more than `MOST_PROBABILITIES`; of
    larger splits it is that of so many, drawn evenly from a fixed seed.

    Args:
        probabilities: `(N, K)` softmax outputs.
        targets: `(N,)` in `[0, K)`.

    Returns:
        Within `TEMPERATURES`, and 1 when no other is better; above 1 for an overconfident model.

    References:
        Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    n, k = probabilities.shape
    most, drawn = min(MOST_IMAGES, max(1, MOST_PROBABILITIES // k)), np.arange(n)
    if n > most:
        drawn = np.sort(np.random.default_rng(0).choice(n, most, replace=False))
        targets = targets[drawn]
    logits = np.empty((len(drawn), k))

    def fill(rows: slice) -> None:
        logits[rows] = logits_of(probabilities[drawn[rows]])

    in_blocks(fill, logits.shape)

    def loss(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        parts = in_blocks(
            lambda rows: _likelihoods(logits[rows] / temperature, targets[rows]), logits.shape
        )
        return -float(np.concatenate(parts).sum())

    bounds = (math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1]))
    best = minimize_scalar(loss, bounds=bounds, method="bounded")
    # Without a mistake among them the loss may be 0 over a wide range.
    return 1.0 if loss(0) <= best.fun else math.exp(best.x)


def _likelihoods(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the logarithm of each target's softmax, `(N,)`; the logits are lost."""
    logits -= logits.max(axis=1, keepdims=True)
    own = logits[np.arange(len(targets)), targets]
    likelihoods: NDArray[np.float64] = own - np.log(np.exp(logits, out=logits).sum(axis=1))
    return likelihoods


def fit_calibration(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> Calibration:
    """Fit the temperature on the validation split and keep its confidences.

    Args:
        probabilities: `(N, K)` softmax outputs, as the model gives them.
        targets: `(N,)` in `[0, K)`.

    Raises:
        ValueError: There is no image, or a probability is NaN.
    """
    temperature = fit_temperature(probabilities, targets)
    confidences = confidences_at(temperature, probabilities).clip(max=np.float32(1))
    return Calibration(temperature, confidences, probabilities.argmax(axis=1) == targets)


def calibration_error(
    probabilities: NDArray[np.float32], targets: NDArray[np.int64], num_bins: int = 15
) -> float:
    """Compute the expected calibration error of the highest probability.

    Args:
        probabilities: `(N, K)` softmax outputs, `N >= 1`.
        targets: `(N,)` in `[0, K)`.
        num_bins: Of equal width from 0 to 1, each with its lower edge; the last one with both.

    Returns:
        The mean distance of confidence and accuracy over the bins, weighted by their images.

    References:
        Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    confidences = torch.from_numpy(_confidences(probabilities))
    # It asks for no more than the highest probability and whether its class is the target.
    error = multiclass_calibration_error(
        torch.stack([confidences, torch.zeros_like(confidences)], dim=1),
        torch.from_numpy((probabilities.argmax(axis=1) != targets).astype(np.int64)),
        num_classes=2,
        n_bins=num_bins,
    )
    return float(error)


def _confidences(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    # torchmetrics takes values outside [0, 1] for logits, and bins a confidence of 1 on its own.
    highest = np.nextafter(np.float32(1), np.float32(0))
    confidences = probabilities.max(axis=1).astype(np.float32)
    return np.asarray(confidences.clip(np.float32(0), highest))


def reliability_table(
    probabilities: NDArray[np.float32], targets: NDArray[np.int64], num_bins: int = 15
) -> pd.DataFrame:
    """Tabulate confidence and accuracy in the bins of `calibration_error`.

    Args:
        probabilities: `(N, K)` softmax outputs.
        targets: `(N,)` in `[0, K)`.
        num_bins: As in `calibration_error`.

    Returns:
        One row per bin, lowest first: its edges `low` and `high`, the means `confidence` and
        `accuracy`, NaN in an empty bin, and `count`, its images.
    """
    confidences = _confidences(probabilities)
    edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float32).numpy()
    bins = np.searchsorted(edges, confidences, side="right") - 1
    counts = np.bincount(bins, minlength=num_bins)
    images = np.where(counts > 0, counts, np.nan)
    right = probabilities.argmax(axis=1) == targets
    return pd.DataFrame(
        {
            "low": edges[:-1].astype(np.float64),
            "high": edges[1:].astype(np.float64),
            "confidence": np.bincount(bins, confidences, minlength=num_bins) / images,
            "accuracy": np.bincount(bins, right, minlength=num_bins) / images,
            "count": counts,
        }
    )


def risk_coverage(confidences: NDArray[np.float32], hits: NDArray[np.bool_]) -> pd.DataFrame:
    """Trace how often a model is right when it answers above a threshold only.

    Args:
        confidences: `(N,)`, finite.
        hits: `(N,)`, whether the image's prediction is right.

    Returns:
        One row per distinct confidence, highest first: `threshold`, `coverage`, the share of images
        with at least that confidence, `precision`, the share of these that are right, and `risk`,
        the share that are wrong.

    References:
        Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, 2017.
    """
    thresholds, accepted, right = count_accepted(confidences, hits)
    return pd.DataFrame(
        {
            "threshold": thresholds,
            "coverage": accepted / len(confidences),
            "precision": right / accepted,
            "risk": (accepted - right) / accepted,
        }
    )


def area_under_risk_coverage(confidences: NDArray[np.float32], hits: NDArray[np.bool_]) -> float:
    """Average the risk over the images, accepted one by one in the order of their confidence.

    Args:
        confidences: `(N,)`, finite, `N >= 1`; images of equal confidence count with the mean over
            all their orders.
        hits: `(N,)`, whether the image's prediction is right.

    References:
        Geifman et al., Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, 2019.
    """
    places = np.unique(confidences, return_inverse=True)[1]
    error_rates = np.bincount(places, ~hits) / np.bincount(places)
    errors = error_rates[np.sort(places)[::-1]].cumsum()
    return float((errors / np.arange(1, len(errors) + 1)).mean())


def unknowns_auroc(known: NDArray[np.float32], unknown: NDArray[np.float32]) -> float:
    """Measure how well the confidence tells photos of the known classes from others.

    Args:
        known: `(N,)` confidences of photos of the known classes.
        unknown: `(M,)` confidences of other photos.

    Returns:
        The probability that a known photo has a higher confidence than an unknown one, ties
        counting one half; NaN when one of them is empty.

    References:
        Hendrycks and Gimpel, A Baseline for Detecting Misclassified and Out-of-Distribution
        Examples in Neural Networks, 2017.
    """
    n, m = len(known), len(unknown)
    if n == 0 or m == 0:
        return math.nan
    # The U statistic of Mann and Whitney.
    ranks = rankdata(np.concatenate([known, unknown]).astype(np.float64))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def refusal_table(
    calibration: Calibration,
    confidences: NDArray[np.float32],
    hits: NDArray[np.bool_],
    unknown: NDArray[np.float32] | None = None,
    precisions: Iterable[float] = PRECISIONS,
) -> pd.DataFrame:
    """Tabulate what thresholds chosen on the validation split do on the test split.

    Args:
        calibration: Of the validation split.
        confidences: `(N,)`, the highest probability of each test image after
            `calibration.calibrate`.
        hits: `(N,)`, whether the image's prediction is right.
        unknown: `(M,)` confidences of photos of no known class, or None.
        precisions: The wanted ones, each in `(0, 1]`.

    Returns:
        One row per precision: `wanted`; `threshold`; `coverage`, the share of test images that
        reach it; `precision`, the share of these that are right, NaN without any; and
        `unknown_refused`, the share of unknown photos below it, NaN without any. All but `wanted`
        are NaN where no threshold reaches the precision on the validation split.

    Raises:
        ValueError: A precision is out of range.
    """
    thresholds = {wanted: calibration.lowest_threshold(wanted) for wanted in precisions}
    return thresholds_table(thresholds, confidences, hits, unknown)


def thresholds_table(
    thresholds: Mapping[float, float | None],
    confidences: NDArray[np.float32],
    hits: NDArray[np.bool_],
    unknown: NDArray[np.float32] | None = None,
) -> pd.DataFrame:
    """Tabulate as `refusal_table` does.

    Args:
        thresholds: By the wanted precision; None: out of reach.
        confidences: `(N,)`.
        hits: `(N,)`.
        unknown: `(M,)`, or None.
    """
    rows = []
    for wanted, threshold in thresholds.items():
        row = {"wanted": wanted}
        if threshold is not None:
            accepted = confidences >= threshold
            refused = np.empty(0) if unknown is None else unknown < threshold
            row |= {
                "threshold": threshold,
                "coverage": _mean(accepted),
                "precision": _mean(hits[accepted]),
                "unknown_refused": _mean(refused),
            }
        rows.append(row)
    columns = ["wanted", "threshold", "coverage", "precision", "unknown_refused"]
    return pd.DataFrame(rows, columns=columns, dtype=np.float64)


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else math.nan
