"""Figures of resamples of the images, from which their intervals are made."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch.nn.functional import embedding_bag

from fashion.metrics.metrics import FIGURES, each_class, images_by_class, one_thread
from fashion.metrics.predictions import Predictions

CHUNK = 2**26  # multiplicities held at a time, so that memory is bounded
DRAWN = 2**19  # of them drawn at a time, which takes several times the memory
MOST_WEIGHED = 2 * 10**11  # scores times resamples, on two cores within minutes
FEWEST_RESAMPLES = 200


def affordable_resamples(num_images: int, num_classes: int, wanted: int) -> int:
    """Return how many of the wanted resamples `bootstrap` makes within minutes, or 200.

    It is the same for all models of a split.
    """
    affordable = MOST_WEIGHED // (num_images * num_classes)
    return min(wanted, max(FEWEST_RESAMPLES, affordable))


def bootstrap(
    predictions: Predictions, num_resamples: int = 2000, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Compute the figures of resamples of the images.

    Accuracy comes from resamples of all images; the macro figures from resamples within each class,
    so that every class keeps its number of images and none drops out. Equal targets, number and
    seed give equal resamples whatever the model, so replicates of two models may be subtracted.

    Args:
        predictions: Of the split in question.
        num_resamples: How many; the ends of a 95 % interval need a thousand or more.
        seed: Of the resamples.

    Returns:
        The replicates of each of `FIGURES`, as in `fashion.metrics.metrics`, `(num_resamples,)`.
    """
    targets, predicted, hits = predictions.targets, predictions.predicted, predictions.hits()
    k = len(predictions.class_names)
    images, support = images_by_class(targets, k), np.bincount(targets, minlength=k)
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in FIGURES}
    for drawn in _draw(targets, num_resamples, seed, by_class=False):
        parts["accuracy"].append(hits[drawn].mean(axis=1))
    for counts in multiplicities(targets, num_resamples, seed, by_class=True):
        parts["macro_f1"].append(_macro_f1(predicted, hits, support, counts))
        parts["macro_auprc"].append(_macro_auprc(predictions.probabilities, images, counts))
        del counts  # before the next ones are drawn
    return {name: np.concatenate(values) for name, values in parts.items()}


def multiplicities(
    targets: NDArray[np.int64], num_resamples: int, seed: int, *, by_class: bool
) -> Iterator[NDArray[np.float32]]:
    """Draw how often each image is in each resample.

    Args:
        targets: `(N,)`.
        num_resamples: How many resamples in all.
        seed: Of the draw.
        by_class: Draw within each class, which keeps its number of images.

    Yields:
        Whole numbers, `(N, some of the resamples)`; each column sums to `N`.
    """
    n, draws = len(targets), _draw(targets, num_resamples, seed, by_class=by_class)
    size = _drawn_at_a_time(n)
    width = max(1, CHUNK // n // size) * size  # whole draws, so that what is yielded is contiguous
    for first in range(0, num_resamples, width):
        counts = np.empty((n, min(width, num_resamples - first)), np.float32)
        for start in range(0, counts.shape[1], size):
            drawn = next(draws)
            columns = len(drawn)
            cells = drawn * columns + np.arange(columns)[:, None]
            some = np.bincount(cells.ravel(), minlength=n * columns)
            counts[:, start : start + columns] = some.reshape(n, columns)
        yield counts


def _draw(
    targets: NDArray[np.int64], num_resamples: int, seed: int, *, by_class: bool
) -> Iterator[NDArray[np.intp]]:
    """Yield the images of some resamples at a time, `(some, N)`."""
    n, rng = len(targets), np.random.default_rng([seed, by_class])
    order, sizes = np.argsort(targets, kind="stable"), np.bincount(targets)
    ends = np.repeat(sizes.cumsum(), sizes)
    starts = ends - np.repeat(sizes, sizes)
    size = _drawn_at_a_time(n)
    for first in range(0, num_resamples, size):
        shape = (min(size, num_resamples - first), n)
        yield order[rng.integers(starts, ends, shape)] if by_class else rng.integers(n, size=shape)


def _drawn_at_a_time(num_images: int) -> int:
    return max(1, min(DRAWN, CHUNK) // num_images)


def _macro_f1(
    predicted: NDArray[np.intp],
    hits: NDArray[np.bool_],
    support: NDArray[np.intp],
    counts: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return the mean F1 of all classes, an undefined one counting 0, `(B,)`."""
    n, k = len(predicted), len(support)
    places = (predicted, np.arange(n))
    named = csr_array((np.ones(n, np.float32), places), shape=(k, n)) @ counts
    right = csr_array((hits.astype(np.float32), places), shape=(k, n)) @ counts
    f1 = 2 * right.astype(np.float64) / np.maximum(named + support[:, None], 1)
    mean: NDArray[np.float64] = f1.mean(axis=0)
    return mean


def _macro_auprc(
    probabilities: NDArray[np.float32],
    images: Sequence[NDArray[np.intp]],
    counts: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return the mean average precision of the classes that have images, `(B,)`."""

    def average_precision(k: int, scores: NDArray[np.float32]) -> NDArray[np.float64] | None:
        return _average_precision(-scores, images[k], counts) if len(images[k]) else None

    with one_thread():  # for each of those that `each_class` starts
        of_classes = each_class(average_precision, probabilities)
    mean: NDArray[np.float64] = np.mean([part for part in of_classes if part is not None], axis=0)
    return mean


def _average_precision(
    falling: NDArray[np.float32], positives: NDArray[np.intp], counts: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Weigh a class's images by `(N, B)` counts and return its average precisions, `(B,)`.

    Args:
        falling: The scores of all images, negated.
        positives: The images of the class.
        counts: As `multiplicities` yields them.
    """
    best_first = positives[np.argsort(falling[positives], kind="stable")]
    own = falling[best_first]
    last = np.searchsorted(own, own, side="right") - 1  # of equal scores
    joining = _count_joining(falling, own, counts)
    average = np.empty(counts.shape[1])
    width = max(1, DRAWN // len(own))
    for first in range(0, len(average), width):
        some = slice(first, first + width)
        drawn = counts[best_first, some]
        found, seen = drawn.cumsum(axis=0)[last], joining[:, some].cumsum(axis=0)
        precision = np.divide(found, np.maximum(seen, 1), dtype=np.float64)
        average[some] = (drawn * precision).sum(axis=0) / found[-1]
    return average


def _count_joining(
    falling: NDArray[np.float32], own: NDArray[np.float32], counts: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Sum the counts of the images that join from one positive to the next, `(P, B)`.

    The images are those by the class's falling score. Equal ones join together.

    Args:
        falling: The scores of all images, negated.
        own: Those of the positives, in their order.
        counts: As `multiplicities` yields them.
    """
    reaching = falling <= own[-1]
    images, others = np.flatnonzero(reaching), np.flatnonzero(~reaching)
    images = images[np.argsort(falling[images])]
    parts = np.split(images, np.searchsorted(falling[images], own[:-1], side="right"))
    parts.append(others)
    # Each column of the counts sums to N, so that the widest part needn't be added up.
    sizes = [len(part) for part in parts]
    widest = int(np.argmax(sizes))
    parts[widest], sizes[widest] = parts[widest][:0], 0
    sums: NDArray[np.float32] = embedding_bag(
        torch.from_numpy(np.concatenate(parts)),
        torch.from_numpy(counts),
        torch.from_numpy(np.cumsum([0, *sizes])),
        mode="sum",
        include_last_offset=True,
    ).numpy()
    sums[widest] = len(counts) - sums.sum(axis=0)
    return sums[:-1]
