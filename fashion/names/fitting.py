"""Fit the model of names, then its weight beside photos: what needs scikit-learn and SciPy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fashion.metrics.scaling import Calibration, confidences_at, log_softmax, logits_of
from fashion.names.features import (
    PLACES,
    Features,
    count_places,
    inverse_frequencies,
    weigh,
)
from fashion.names.fusion import MOST, Fusion
from fashion.names.masking import Mask
from fashion.names.name_model import NameModel

# Of SGDClassifier: as much regularisation as tells the published catalogue's names; few names are
# gone through more often.
ALPHA, EPOCHS, STEPS = 2e-6, 10, 60_000
UNSEEN_BIAS = -20.0  # of a class of which no name is left


@dataclass(frozen=True, eq=False)
class NamedPhotos:
    """Photos of a split with their names.

    Attributes:
        names: `(N,)`; empty where a photo has none.
        targets: `(N,)` int64 in `[0, K)`.
        probabilities: `(N, K)` float32, calibrated, of the photos; None where nobody asks.
    """

    names: Sequence[str]
    targets: NDArray[np.int64]
    probabilities: NDArray[np.float32] | None = None


def fit_names(train: NamedPhotos, val: NamedPhotos, mask: Mask, num_classes: int) -> NameModel:
    """Fit a model on the names of one split, and the weights of photo and name on another.

    Args:
        train: What the model of photos was trained on.
        val: With the probabilities of that model.
        mask: What of a name is read.
        num_classes: K.

    Raises:
        ValueError: The mask leaves words in names of fewer than two classes.
    """
    kept = [mask.keep(name) for name in train.names]
    rarity, weights, bias = fit_weights(kept, train.targets, num_classes)
    model = NameModel(mask, rarity, weights, bias, Fusion(1.0, 0.0))
    assert val.probabilities is not None
    of_names = model.log_probabilities(val.names)
    named = ~np.isnan(of_names[:, 0])
    if not named.any():
        return model  # nothing speaks for the names
    photos, targets = val.probabilities[named], val.targets[named]
    fusion = fit_fusion(photos, of_names[named], targets)
    joined = fusion.join(photos, of_names[named])
    confidences = confidences_at(1.0, joined).clip(max=np.float32(1))
    calibration = Calibration(1.0, confidences, joined.argmax(axis=1) == targets)
    return replace(model, fusion=fusion, calibration=calibration)


def fit_weights(
    names: Sequence[Sequence[str]], targets: NDArray[np.int64], num_classes: int
) -> tuple[NDArray[np.float32], NDArray[np.float16], NDArray[np.float32]]:
    """Fit a linear model of the words that a mask has left of names.

    Returns:
        `rarity`, `weights` and `bias` of `fashion.names.name_model.NameModel`.

    Raises:
        ValueError: Names of two classes or more don't have a word left.
    """
    has_words = np.array([bool(kept) for kept in names])
    names, targets = [kept for kept in names if kept], targets[has_words]
    if len(np.unique(targets)) < 2:
        raise ValueError(
            "data.text_mask leaves words in the names of fewer than two classes of the training "
            "split, so that nothing can be learnt of them. Pass another data.text_mask, or "
            "data.text_column=null."
        )
    counts = count_places(names)
    rarity = inverse_frequencies(counts).astype(np.float32)
    classes, coefficients, intercepts = _fit(weigh(counts, rarity), targets)
    weights = np.zeros((PLACES, num_classes), np.float16)
    largest = np.finfo(np.float16).max
    weights[:, classes] = coefficients.T.clip(-largest, largest)
    bias = np.full(num_classes, UNSEEN_BIAS, np.float32)
    bias[classes] = intercepts
    return rarity, weights, bias


def _fit(
    features: Features, targets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the classes that there are, `(C,)`, and their weights and biases."""
    from scipy.sparse import csr_array
    from sklearn.linear_model import SGDClassifier

    rows = csr_array(
        (features.values, features.places.astype(np.int32), features.ends.astype(np.int32)),
        shape=(len(targets), PLACES),
    )
    epochs = max(EPOCHS, STEPS // len(targets))
    model = SGDClassifier(
        loss="log_loss", alpha=ALPHA, max_iter=epochs, tol=None, random_state=0
    ).fit(rows, targets)
    weights, biases = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # it has one row, of which the other is the reverse
        weights, biases = np.concatenate([-weights, weights]) / 2, np.append(-biases, biases) / 2
    return model.classes_, weights, biases


def fit_fusion(
    of_photos: NDArray[np.float32], of_names: NDArray[np.float64], targets: NDArray[np.int64]
) -> Fusion:
    """Find the two weights that minimise the negative log-likelihood of the targets.

    It has one minimum, for it is a logistic regression of two numbers.

    Args:
        of_photos: Calibrated probabilities, `(N, K)`.
        of_names: Log-probabilities, `(N, K)`, finite.
        targets: `(N,)` in `[0, K)`.
    """
    from scipy.optimize import minimize

    parts = np.stack([logits_of(of_photos), of_names])
    rows = np.arange(len(targets))
    own = parts[:, rows, targets].mean(axis=1)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = log_softmax(np.tensordot(weights, parts, 1))
        expected = (np.exp(scores) * parts).sum(axis=2).mean(axis=1)
        return -float(scores[rows, targets].mean()), expected - own

    bounds = [(1 / MOST, MOST), (0, MOST)]
    best = minimize(loss, np.array([1.0, 0.5]), jac=True, bounds=bounds, method="L-BFGS-B")
    photo, name = map(float, best.x)
    return Fusion(photo, name)
