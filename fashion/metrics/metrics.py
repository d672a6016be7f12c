"""The three headline metrics and their parts per class, exact and on the host."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fashion.cores import usable_cores

FIGURES = ("accuracy", "macro_f1", "macro_auprc")  # the headline of each report
BLOCK = 2**22  # scores that a thread has before it at a time
CACHE_LINE = 16  # scores that memory hands over at once, so that classes are read by as many

T = TypeVar("T")


@contextmanager
def one_thread() -> Iterator[None]:
    """Have PyTorch compute in one thread, for threads of our own that would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def classification_metrics(probabilities: Tensor, targets: Tensor) -> dict[str, float]:
    """Compute accuracy, macro-F1 and macro-AUPRC.

    Macro-F1 is the mean over all `K` classes, an undefined one counting 0; macro-AUPRC is the mean
    average precision over the classes with at least one image. All three are NaN when a probability
    is not finite, so that a diverged model never looks like a bad one.

    Args:
        probabilities: `(N, K)` float, `K >= 2`.
        targets: `(N,)` int64 in `[0, K)`.

    Returns:
        `accuracy`, `macro_f1` and `macro_auprc`.
    """
    # NaN is both the lowest and the highest of what it is among.
    if not torch.isfinite(torch.stack(torch.aminmax(probabilities))).all():
        return dict.fromkeys(FIGURES, float("nan"))
    return headline(per_class_metrics(probabilities, targets))


def headline(per_class: dict[str, Tensor]) -> dict[str, float]:
    """Compute what `classification_metrics` does from what `per_class_metrics` returned."""
    return {
        "accuracy": per_class["hits"].sum().item() / per_class["support"].sum().item(),
        "macro_f1": per_class["f1"].mean().item(),
        "macro_auprc": per_class["average_precision"].nanmean().item(),
    }


def per_class_metrics(probabilities: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Compute precision, recall, F1, average precision and support of each class.

    Args:
        probabilities: `(N, K)` float, finite, `K >= 2`; the first of equal maxima is predicted.
        targets: `(N,)` int64 in `[0, K)`.

    Returns:
        `precision`, `recall`, `f1` (0 where undefined) and `average_precision` (NaN for a class
        without images), each `(K,)` float64; `hits`, its images that were recognised, and
        `support`, `(K,)` int64.
    """
    probabilities, targets = probabilities.detach().cpu(), targets.cpu()
    predicted, k = probabilities.argmax(dim=1), probabilities.shape[1]
    if predicted.shape != targets.shape:
        raise ValueError(
            f"{len(targets)} targets of {len(predicted)} images: they must have the same shape."
        )
    hits, named, support = (
        torch.from_numpy(np.bincount(classes.numpy(), minlength=k))
        for classes in (targets[predicted == targets], predicted, targets)
    )
    return {
        "precision": _divide(hits, named),
        "recall": _divide(hits, support),
        "f1": _divide(2 * hits, named + support),
        "average_precision": _average_precisions(probabilities, targets.numpy()),
        "hits": hits,
        "support": support,
    }


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    return numerator.double() / denominator.clamp(min=1)


def _average_precisions(probabilities: Tensor, targets: NDArray[np.int64]) -> Tensor:
    """Return the mean precision at each image of a class, equal scores being found together."""
    images = images_by_class(targets, probabilities.shape[1])

    def average_precision(k: int, scores: NDArray[Any]) -> float:
        own = np.sort(scores[images[k]])
        if not len(own):
            return float("nan")
        found = len(own) - np.searchsorted(own, own)
        return float((found / _count_reaching(scores, own)).mean())

    return torch.tensor(each_class(average_precision, _array(probabilities)), dtype=torch.float64)


def images_by_class(targets: NDArray[np.int64], num_classes: int) -> list[NDArray[np.intp]]:
    """Return the images of each class, in their order."""
    ends = np.bincount(targets, minlength=num_classes).cumsum()
    return np.split(np.argsort(targets, kind="stable"), ends[:-1])


def each_class(function: Callable[[int, NDArray[Any]], T], scores: NDArray[Any]) -> list[T]:
    """Return what a function of a class and its scores, `(N,)`, makes of each, on all cores.

    Args:
        function: Most of its work lets other threads run, as NumPy's and PyTorch's does.
        scores: `(N, K)`.
    """
    n, k = scores.shape
    size = max(CACHE_LINE, BLOCK // n)

    def of_block(first: int) -> list[T]:
        columns = np.array(scores[:, first : first + size].T, order="C")
        return [function(first + place, column) for place, column in enumerate(columns)]

    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(chain.from_iterable(pool.map(of_block, range(0, k, size))))


def _array(scores: Tensor) -> NDArray[Any]:
    scores = scores.detach().cpu()
    return (scores if scores.dtype == torch.float64 else scores.float()).numpy()


def _count_reaching(scores: NDArray[Any], thresholds: NDArray[Any]) -> NDArray[np.int64]:
    """Count the scores that reach each of the thresholds, which rise."""
    reaching = np.zeros(len(thresholds), np.int64)
    for first in range(0, len(scores), BLOCK):
        part = scores[first : first + BLOCK]
        part = np.sort(part[part >= thresholds[0]])
        reaching += len(part) - np.searchsorted(part, thresholds)
    return reaching


Curve = tuple[NDArray[np.float64], NDArray[np.float64]]  # precision and recall
POINTS = 20_000  # of a curve, more than any picture has


def precision_recall_curve(scores: NDArray[Any], own: NDArray[Any]) -> Curve:
    """Trace precision over recall from recall 1 down to recall 0.

    Each recall has one point, that of the highest score which reaches it; of more than `POINTS`
    some, as far from each other.

    Args:
        scores: `(N,)` float, any range.
        own: `(P,)` those of what is to be found, one at least.

    Returns:
        Precision and recall, float64, of one length.
    """
    own = np.sort(own)
    thresholds, places = np.unique(own, return_index=True)
    if len(thresholds) > POINTS:
        some = np.linspace(0, len(thresholds) - 1, POINTS).astype(np.int64)
        thresholds, places = thresholds[some], places[some]
    found = len(own) - places
    precision = found / _count_reaching(scores, thresholds)
    return np.r_[precision, 1.0], np.r_[found / len(own), 0.0]


def class_curves(
    probabilities: NDArray[np.float32], targets: NDArray[np.int64]
) -> list[Curve | None]:
    """Trace the curve of each class; None of one without images. Costs O(N K log N).

    Args:
        probabilities: `(N, K)`.
        targets: `(N,)` in `[0, K)`.
    """
    images = images_by_class(targets, probabilities.shape[1])

    def trace(k: int, scores: NDArray[Any]) -> Curve | None:
        return precision_recall_curve(scores, scores[images[k]]) if len(images[k]) else None

    return each_class(trace, probabilities)


def pooled_curve(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> Curve:
    """Trace the curve of all `N * K` decisions as if they were of one class."""
    own = probabilities[np.arange(len(targets)), targets]
    return precision_recall_curve(probabilities.reshape(-1), own)
