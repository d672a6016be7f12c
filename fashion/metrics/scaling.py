"""A model's confidence set right by a temperature, and the one that its answers need.

All that labelling needs of a calibration, for which NumPy is enough; `fashion.metrics.calibration`
fits and examines.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fashion.cores import usable_cores

TEMPERATURES = (0.05, 20.0)
BLOCK = 2**20  # probabilities that a thread has before it at a time, in float64

T = TypeVar("T")


def scale(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Divide the logits behind the probabilities by the temperature.

    Args:
        probabilities: `(N, K)` softmax outputs.
        temperature: Above 0; 1 changes nothing.

    Returns:
        `(N, K)` float32, each row with sum 1 and its largest class where it was.

    References:
        Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    if temperature == 1:
        return np.asarray(probabilities, dtype=np.float32)
    scaled = np.empty(probabilities.shape, np.float32)

    def fill(rows: slice) -> None:
        scaled[rows] = _scale(probabilities[rows], temperature)

    in_blocks(fill, probabilities.shape)
    return scaled


def confidences_at(temperature: float, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the highest probability of each row of what `scale` returns, `(N,)`."""
    return np.concatenate(
        in_blocks(
            lambda rows: scale(probabilities[rows], temperature).max(axis=1), probabilities.shape
        )
    )


def _scale(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    logits = logits_of(probabilities)
    logits /= temperature
    scaled = np.exp(log_softmax(logits)).astype(np.float32)
    # Rounding may draw the largest class level with one before it, which would then be predicted.
    best = probabilities.argmax(axis=1)
    level = np.flatnonzero(scaled.argmax(axis=1) != best)
    scaled[level, best[level]] = np.nextafter(scaled[level].max(axis=1), np.float32(1))
    return scaled


def in_blocks(function: Callable[[slice], T], shape: tuple[int, ...]) -> list[T]:
    """Return what a function makes of some rows at a time, in their order, on all cores.

    Args:
        function: Most of its work lets other threads run, as NumPy's does.
        shape: Of all rows, `(N, K)`.
    """
    num_rows, num_columns = shape
    size = max(1, BLOCK // num_columns)
    blocks = [slice(first, first + size) for first in range(0, max(1, num_rows), size)]
    if len(blocks) == 1:
        return [function(blocks[0])]
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(function, blocks))


def logits_of(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return logits `(N, K)` whose softmax is the probabilities."""
    # A softmax in float32 underflows to 0, whose logarithm is infinite.
    floor = np.finfo(np.float32).tiny
    logits: NDArray[np.float64] = np.maximum(probabilities, floor, dtype=np.float64)
    np.log(logits, out=logits)
    return logits


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of each row's softmax, `(N, K)`."""
    shifted: NDArray[np.float64] = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def mean_probabilities(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean of several models' probabilities, each `(N, K)`, summed in float64."""
    mean = np.empty(parts[0].shape, np.float32)

    def fill(rows: slice) -> None:
        mean[rows] = np.stack([part[rows] for part in parts]).mean(axis=0, dtype=np.float64)

    in_blocks(fill, mean.shape)
    return mean


class Answered(NamedTuple):
    """What a threshold does: the shares of right answers, and of images that get one."""

    threshold: float
    precision: float
    coverage: float


class Acceptance(NamedTuple):
    """How many images a model answers above each threshold.

    Attributes:
        thresholds: `(M,)` float64, the distinct confidences, highest first.
        accepted: `(M,)`, the images with at least that confidence.
        right: `(M,)`, those of them whose prediction is right.
    """

    thresholds: NDArray[np.float64]
    accepted: NDArray[np.int64]
    right: NDArray[np.float64]


def count_accepted(confidences: NDArray[np.float32], hits: NDArray[np.bool_]) -> Acceptance:
    """Count what is answered above each threshold, images of equal confidence together.

    Args:
        confidences: `(N,)`, finite.
        hits: `(N,)`, whether the image's prediction is right.
    """
    thresholds, places = np.unique(confidences, return_inverse=True)
    return Acceptance(
        thresholds[::-1].astype(np.float64),
        np.bincount(places)[::-1].cumsum(),
        np.bincount(places, hits)[::-1].cumsum(),
    )


def answered_from(
    confidences: NDArray[np.float32], hits: NDArray[np.bool_]
) -> tuple[Answered, ...]:
    """Return the thresholds worth choosing: any other answers less, and no more often right.

    Args:
        confidences: As `count_accepted`.
        hits: As there.

    Returns:
        Coverage falling and precision rising from one to the next.
    """
    counts = count_accepted(confidences, hits)
    precisions = counts.right / counts.accepted
    best_after = np.maximum.accumulate(precisions[::-1])
    is_better = np.append(True, best_after[1:] > best_after[:-1])[::-1]
    columns = counts.thresholds, precisions, counts.accepted / len(confidences)
    rows = np.stack([column[is_better][::-1] for column in columns], axis=1)
    return tuple(Answered(*row) for row in rows.tolist())


def choose_threshold(curve: Sequence[Answered], precision: float) -> float:
    """Choose the threshold that answers most images, and is right at least that often.

    Args:
        curve: As `answered_from` returns it.
        precision: The wanted share of right answers, in `(0, 1]`.

    Returns:
        A confidence of the validation split, exact in float32.

    Raises:
        ValueError: The precision is out of range, or no threshold reaches it.

    References:
        Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, 2017.
    """
    threshold = _lowest(curve, precision)
    if threshold is None:
        best = math.floor(curve[-1].precision * 1e4) / 1e4
        raise ValueError(
            f"precision={precision} is out of reach on the validation split; the best there is "
            f"{best}."
        )
    return threshold


def _lowest(curve: Sequence[Answered], precision: float) -> float | None:
    if not 0 < precision <= 1:
        raise ValueError(f"precision={precision} must be above 0 and at most 1.")
    return next((each.threshold for each in curve if each.precision >= precision), None)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the validation split says of a model's confidence.

    Attributes:
        temperature: Within `TEMPERATURES`; see `scale`.
        confidences: `(N,)` float32 in `[0, 1]`, the highest probability of each validation image
            after scaling.
        hits: `(N,)` bool, whether the image's prediction is right.

    Raises:
        ValueError: One of them breaks these rules.
    """

    temperature: float
    confidences: NDArray[np.float32]
    hits: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Refuse what no threshold can be chosen from."""
        low, high = TEMPERATURES
        if not low <= self.temperature <= high:
            raise ValueError(f"temperature={self.temperature} must be from {low} to {high}.")
        n = len(self.confidences) if self.confidences.ndim else 0
        if n == 0 or self.confidences.shape != (n,) or self.hits.shape != (n,):
            raise ValueError(
                f"confidences of shape {self.confidences.shape} and hits of {self.hits.shape} must "
                "be (N,), N at least 1."
            )
        if self.confidences.dtype != np.float32 or self.hits.dtype != np.bool_:
            raise ValueError(
                f"confidences of type {self.confidences.dtype} and hits of {self.hits.dtype} must "
                "be float32 and bool."
            )
        if not ((self.confidences >= 0) & (self.confidences <= 1)).all():
            raise ValueError("confidences must be from 0 to 1.")

    def state(self) -> dict[str, Any]:
        """Return a float and two tensors, which `torch.load(..., weights_only=True)` reads."""
        import torch

        return {
            "temperature": self.temperature,
            "confidences": torch.tensor(self.confidences),
            "hits": torch.tensor(self.hits),
        }

    @classmethod
    def from_state(cls, state: object) -> "Calibration":
        """Rebuild what `state` returned; arrays may stand for the tensors.

        Raises:
            ValueError: It is something else, or damaged.
        """
        if not isinstance(state, Mapping) or not {*cls.__annotations__} <= state.keys():
            raise ValueError("This is no calibration: expected temperature, confidences and hits.")
        temperature = state["temperature"]
        if not isinstance(temperature, float):
            raise ValueError(
                f"temperature must be a float, but is of type {type(temperature).__name__}."
            )
        arrays = {name: _array(name, state[name]) for name in ("confidences", "hits")}
        return cls(temperature, **arrays)

    def calibrate(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale probabilities, `(N, K)`, by the temperature; see `scale`."""
        return scale(probabilities, self.temperature)

    def curve(self) -> tuple[Answered, ...]:
        """Return the thresholds worth choosing; see `answered_from`."""
        return answered_from(self.confidences, self.hits)

    def threshold(self, precision: float) -> float:
        """Choose the confidence from which on answers are right at least that often.

        An image is answered when its confidence after `calibrate` is the threshold or above; see
        `choose_threshold`.

        Raises:
            ValueError: The precision is out of range, or no threshold reaches it.
        """
        return choose_threshold(self.curve(), precision)

    def lowest_threshold(self, precision: float) -> float | None:
        """Return what `threshold` does, or None where no threshold reaches the precision."""
        return _lowest(self.curve(), precision)


def _array(name: str, values: object) -> NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    if not hasattr(values, "detach"):  # torch isn't imported to ask
        kind = type(values).__name__
        raise ValueError(f"{name} must be a tensor or an array, but are of type {kind}.")
    try:
        array: NDArray[Any] = values.detach().cpu().numpy()
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{name} are a tensor that NumPy cannot hold: {error}") from error
    return array
