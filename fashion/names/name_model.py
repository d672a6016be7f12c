"""The model of names that a run keeps: from a name to log-probabilities, and joined to a photo's.

NumPy computes it. It reads names through its mask alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fashion.metrics.scaling import Calibration, log_softmax
from fashion.names.features import PLACES, Features, count_places, weigh
from fashion.names.fusion import Fusion
from fashion.names.masking import Mask

ARRAYS = {"rarity": np.float32, "weights": np.float16, "bias": np.float32}
MOST_BYTES = 2**31  # of the weights: 16,384 classes


class Thresholds(Protocol):
    """What is known of how sure an answer has to be."""

    def threshold(self, precision: float) -> float:
        """Return the confidence from which on answers are right that often.

        Raises:
            ValueError: The precision is out of range or of reach.
        """


@dataclass(frozen=True, eq=False)
class NameModel:
    """What tells classes by names, and how much that counts beside a photo.

    Attributes:
        mask: What of a name is read.
        rarity: `(PLACES,)` float32, see `fashion.names.features.inverse_frequencies`.
        weights: `(PLACES, K)` float16; rows of zeros where no name of the training split has a
            word or pair.
        bias: `(K,)` float32.
        fusion: The weights of photo and name, fitted on the validation split.
        calibration: Of both together on the validation split's photos that have a name.

    Raises:
        ValueError: An array has another shape or type, or holds what is no finite number.
    """

    mask: Mask
    rarity: NDArray[np.float32]
    weights: NDArray[np.float16]
    bias: NDArray[np.float32]
    fusion: Fusion
    calibration: Thresholds | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be computed with."""
        k = len(self.bias) if self.bias.ndim == 1 else 0
        shapes = {"rarity": (PLACES,), "weights": (PLACES, k), "bias": (k,)}
        for name, dtype in ARRAYS.items():
            array = getattr(self, name)
            if k < 2 or array.dtype != dtype or array.shape != shapes[name]:
                raise ValueError(
                    f"the names' {name} are {array.dtype} of shape {array.shape}; expected "
                    f"{np.dtype(dtype)} of {shapes[name]}, two classes or more."
                )
            if not np.isfinite(array).all():
                raise ValueError(f"the names' {name} hold what is no finite number.")

    def log_probabilities(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return `(N, K)`: what each name says by itself.

        A row is NaN where the name says nothing: it is empty, its mask leaves no word, or no name
        of the training split has one of those.
        """
        return self.of_words([self.mask.keep(name) for name in names])

    def of_words(self, names: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Return what `log_probabilities` does, of the words that a mask has left of each name."""
        return score(weigh(count_places(names), self.rarity), self.weights, self.bias)

    def join(
        self, of_photos: NDArray[np.float32], names: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return probabilities `(N, K)` by photo and name, and which names were used, `(N,)`.

        Args:
            of_photos: Calibrated probabilities, `(N, K)`; they stay what they are, bit for bit,
                where the name isn't used.
            names: Of each photo; empty where it has none.
        """
        of_names = self.log_probabilities(names)
        return self.fusion.join(of_photos, of_names), ~np.isnan(of_names[:, 0])

    def state(self) -> dict[str, Any]:
        """Return tensors and plain values, which `torch.load(..., weights_only=True)` reads."""
        import torch

        calibration = self.calibration
        return {
            "mask": self.mask.state(),
            **{name: torch.from_numpy(getattr(self, name)) for name in ARRAYS},
            "fusion": {"photo": self.fusion.photo, "name": self.fusion.name},
            "calibration": calibration.state() if isinstance(calibration, Calibration) else None,
        }

    def threshold(self, precision: float) -> float:
        """Return the confidence that a label by photo and name needs, see `Thresholds`.

        Raises:
            ValueError: As there, or nothing is known of it.
        """
        if self.calibration is None:
            raise ValueError(f"precision={precision}: nothing is known of labels by name.")
        return self.calibration.threshold(precision)

    @classmethod
    def from_state(cls, state: object, num_classes: int) -> "NameModel":
        """Rebuild what `state` returned; arrays may stand for the tensors.

        Raises:
            ValueError: It is something else, damaged, or of other classes.
        """
        keys = {"mask", *ARRAYS, "fusion", "calibration"}
        if not isinstance(state, Mapping) or not keys <= state.keys():
            raise ValueError(f"This is no model of names: expected {', '.join(sorted(keys))}.")
        fusion, calibration = state["fusion"], state["calibration"]
        if not isinstance(fusion, Mapping) or not {"photo", "name"} <= fusion.keys():
            raise ValueError("the names' fusion must have the weights photo and name.")
        model = cls(
            Mask.from_state(state["mask"]),
            **{name: _array(name, state[name]) for name in ARRAYS},
            fusion=Fusion(fusion["photo"], fusion["name"]),
            calibration=None if calibration is None else Calibration.from_state(calibration),
        )
        if len(model.bias) != num_classes:
            raise ValueError(
                f"the model of names tells {len(model.bias)} classes apart, that of photos "
                f"{num_classes}."
            )
        return model


def score(
    features: Features, weights: NDArray[np.floating], bias: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return log-probabilities `(N, K)` of weighed names; NaN where no place has a weight.

    Args:
        features: As `fashion.names.features.weigh` returns them.
        weights: `(PLACES, K)`.
        bias: `(K,)`.
    """
    scores = np.full((len(features.ends) - 1, len(bias)), np.nan)
    for number in range(len(scores)):
        places, values = features.row(number)
        own = weights[places].astype(np.float64)
        if own.any():
            scores[number] = values @ own + bias
    return log_softmax(scores)


def _array(name: str, values: object) -> NDArray[Any]:
    if not isinstance(values, np.ndarray):
        if not hasattr(values, "detach"):  # torch isn't imported to ask
            raise ValueError(f"the names' {name} must be a tensor or an array.")
        try:
            values = values.detach().cpu().numpy()
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"the names' {name} are a tensor that NumPy can't hold.") from error
    assert isinstance(values, np.ndarray)
    if values.nbytes > MOST_BYTES:
        raise ValueError(f"the names' {name} are larger than {MOST_BYTES:,} bytes.")
    return values
