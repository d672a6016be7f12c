"""What a model said about a split, and tables of it."""

import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from fashion.attributes import MISSING
from fashion.files import replacing
from fashion.metrics import metrics
from fashion.metrics.scaling import confidences_at, in_blocks, scale

ARRAYS = ("image_ids", "probabilities", "targets", "class_names", "has_twin", "temperature")
UNREADABLE = (
    *(ValueError, KeyError, TypeError, AttributeError, EOFError),
    *(zipfile.BadZipFile, zlib.error),
)


class FirstLabels(Protocol):
    """The class that each of N images gets beside the true one, and the names of the K classes."""

    @property
    def targets(self) -> NDArray[np.int64]:
        """True classes, `(N,)` in `[0, K)`."""

    @property
    def predicted(self) -> NDArray[np.intp]:
        """The classes that they get, `(N,)`."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names, `(K,)`."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said about a split: the only thing a report is made of.

    Attributes:
        image_ids: `(N,)` str.
        probabilities: `(N, K)` float32, finite.
        targets: `(N,)` int64 in `[0, K)`.
        class_names: `(K,)`, each once, `K >= 2`.
        has_twin: `(N,)` bool, whether the training split has a twin of the image; None where that
            isn't known.
        temperature: What calibrates the probabilities, above 0; None where that isn't known.
        attributes: What it said of each attribute, of the images alone that have a value of it.

    Raises:
        ValueError: One of them breaks these rules.
    """

    image_ids: NDArray[np.str_]
    probabilities: NDArray[np.float32]
    targets: NDArray[np.int64]
    class_names: tuple[str, ...]
    has_twin: NDArray[np.bool_] | None = None
    temperature: float | None = None
    attributes: Mapping[str, "Predictions"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no report can be made of."""
        n, k = len(self.targets), len(self.class_names)
        shapes = {"image_ids": (n,), "probabilities": (n, k), "targets": (n,)}
        kinds = {"image_ids": "str", "probabilities": "float", "targets": "int"}
        if self.has_twin is not None:
            shapes["has_twin"], kinds["has_twin"] = (n,), "bool"
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"{name} has shape {getattr(self, name).shape}, but {n} targets of {k} classes "
                    f"make it {shape}."
                )
        if n == 0 or k < 2 or len(set(self.class_names)) < k:
            raise ValueError(
                f"{n} images of {k} classes: expected 1 and 2 at least, no class twice."
            )
        for name, kind in kinds.items():
            dtype = getattr(self, name).dtype
            if not dtype.name.startswith(kind):
                raise ValueError(f"{name} are of type {dtype}; expected {kind}.")
        if self.targets.min() < 0 or self.targets.max() >= k:
            raise ValueError(
                f"targets run from {self.targets.min()} to {self.targets.max()}; "
                f"{k} classes allow 0 to {k - 1}."
            )
        # NaN is both the lowest and the highest of what it is among.
        if not np.isfinite([self.probabilities.min(), self.probabilities.max()]).all():
            raise ValueError("probabilities hold NaN or infinity: the model has diverged.")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ValueError(f"the temperature is {self.temperature}; expected one above 0.")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one `.npz`, whole or not at all; not compressed, which probabilities hardly are."""
        arrays = self._arrays()
        for place, (name, other) in enumerate(self.attributes.items()):
            arrays[_key(place)] = np.array(name)
            arrays |= {f"{_key(place)}_{key}": array for key, array in other._arrays().items()}
        with replacing(Path(path)) as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Predictions":
        """Read what `save` wrote.

        Raises:
            ValueError: The file is damaged, or something else.
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
                attributes: dict[str, Predictions] = {}
                while (key := _key(len(attributes))) in stored:
                    attributes[str(stored[key])] = cls._of_arrays(stored, f"{key}_")
                return replace(cls._of_arrays(stored), attributes=attributes)
        except UNREADABLE as e:
            raise ValueError(f"{path} holds no predictions of this project: {e}") from e

    def of_attribute(
        self,
        class_names: tuple[str, ...],
        probabilities: NDArray[np.float32],
        targets: NDArray[np.int64],
    ) -> "Predictions":
        """Return what was said of an attribute of the same images, without those of no value."""
        known = targets != MISSING
        return Predictions(
            self.image_ids[known],
            probabilities[known],
            targets[known],
            class_names,
            None if self.has_twin is None else self.has_twin[known],
        )

    def _arrays(self) -> dict[str, Any]:
        columns: dict[str, Any] = {name: getattr(self, name) for name in ARRAYS}
        columns["class_names"] = np.array(self.class_names, dtype=np.str_)
        return {name: column for name, column in columns.items() if column is not None}

    @classmethod
    def _of_arrays(cls, stored: Mapping[str, Any], before: str = "") -> "Predictions":
        arrays = {name: stored[f"{before}{name}"] for name in ARRAYS[:4]}
        arrays["class_names"] = tuple(arrays["class_names"].tolist())
        temperature = stored.get(f"{before}temperature")
        return cls(
            **arrays,
            has_twin=stored.get(f"{before}has_twin"),
            temperature=None if temperature is None else float(temperature),
        )

    @cached_property
    def predicted(self) -> NDArray[np.intp]:
        """The class that each image gets, `(N,)`, of equal maxima the first."""
        predicted: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return predicted

    @cached_property
    def confidences(self) -> NDArray[np.float32]:
        """The highest of each image's `calibrated` probabilities, `(N,)`."""
        return confidences_at(self.temperature or 1.0, self.probabilities)

    @cached_property
    def per_class(self) -> dict[str, torch.Tensor]:
        """What `fashion.metrics.metrics.per_class_metrics` says of each class."""
        return metrics.per_class_metrics(*tensors(self))

    def hits(self) -> NDArray[np.bool_]:
        """Return which images get the right class, `(N,)`."""
        right: NDArray[np.bool_] = self.predicted == self.targets
        return right

    def calibrated(self, rows: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
        """Return the probabilities at the temperature, or as they are where none is known.

        Args:
            rows: Which images; None: all.
        """
        chosen = self.probabilities if rows is None else self.probabilities[rows]
        return scale(chosen, self.temperature or 1.0)

    def sorted_by_id(self) -> "Predictions":
        """Return the same predictions in the order of their ids."""
        order = np.argsort(self.image_ids, kind="stable")
        if (order[1:] > order[:-1]).all():
            return self  # and no copy
        return replace(
            self,
            image_ids=self.image_ids[order],
            probabilities=self.probabilities[order],
            targets=self.targets[order],
            has_twin=None if self.has_twin is None else self.has_twin[order],
            attributes={name: each.sorted_by_id() for name, each in self.attributes.items()},
        )


def _key(place: int) -> str:
    """Return what an attribute's arrays are called in a file, by its place."""
    return f"attribute_{place}"


def mean_predictions(parts: Iterable[Predictions]) -> Predictions:
    """Return the mean of several models' calibrated probabilities, in the order of the ids.

    Args:
        parts: Of the same images and classes, one at least, the images in any order. Each is let go
            before the next is asked for: beside it there is the sum alone, in float64. What they
            say of attributes is left out.
    """
    total, number = np.empty((0, 0)), 0
    for part in parts:
        order = np.argsort(part.image_ids, kind="stable")
        ids, targets, names = part.image_ids[order], part.targets[order], part.class_names
        total = total if number else np.zeros(part.probabilities.shape)
        _add(total, part, order)
        number += 1
        del part  # or it would be held while the next one is read
    mean = np.empty(total.shape, np.float32)
    np.divide(total, number, out=mean, casting="same_kind")
    return Predictions(ids, mean, targets, names)


def _add(total: NDArray[np.float64], part: Predictions, order: NDArray[np.intp]) -> None:
    def add(rows: slice) -> None:
        total[rows] += part.calibrated(order[rows])

    in_blocks(add, total.shape)


def score_predictions(predictions: Predictions) -> dict[str, float]:
    """Return `accuracy`, `macro_f1` and `macro_auprc`; see `fashion.metrics.metrics`."""
    return metrics.headline(predictions.per_class)


def per_class_table(predictions: Predictions) -> pd.DataFrame:
    """Tabulate `class`, `precision`, `recall`, `f1`, `average_precision` and `support`.

    Returns:
        One row per class in the order of `class_names`. Undefined scores are 0, the average
        precision of a class without images NaN.
    """
    names = ("precision", "recall", "f1", "average_precision", "support")
    columns = {name: predictions.per_class[name].numpy() for name in names}
    return pd.DataFrame({"class": list(predictions.class_names), **columns})


def confusion_counts(
    answers: FirstLabels, classes: NDArray[np.intp] | None = None
) -> NDArray[np.int64]:
    """Count images by true class (down) and predicted class (across).

    Args:
        answers: Predictions, or what else tells a class of each image.
        classes: `(C,)` places of the classes to tell apart; None: all. Others count as one more.

    Returns:
        `(K, K)`, or `(C + 1, C + 1)` where C is less than K.
    """
    k = len(answers.class_names)
    place = np.arange(k)
    if classes is not None and len(classes) < k:
        place = np.full(k, len(classes))
        place[classes] = np.arange(len(classes))
        k = len(classes) + 1
    cells = place[answers.targets] * k + place[answers.predicted]
    return np.bincount(cells, minlength=k * k).reshape(k, k).astype(np.int64, copy=False)


def confused_pairs(answers: FirstLabels, top: int = 20) -> pd.DataFrame:
    """Rank the ordered class pairs (true, predicted) by how often they are mistaken.

    Returns:
        `top` rows at most, most frequent first, equals in the order of the classes: `true`,
        `predicted`, `count`, and `share`, the fraction of the true class's images that went to
        `predicted`. Pairs never confused are absent.
    """
    targets, predicted = answers.targets, answers.predicted
    wrong, k = predicted != targets, len(answers.class_names)
    support = np.bincount(targets, minlength=k)
    # K * K cells would be many; those that hold an image are N at most.
    cells, counts = np.unique(targets[wrong] * k + predicted[wrong], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:top]
    (true, mistaken), counts = np.divmod(cells[order], k), counts[order]
    names = np.array(answers.class_names, dtype=object)
    return pd.DataFrame(
        {
            "true": names[true],
            "predicted": names[mistaken],
            "count": counts,
            "share": counts / support[true],
        }
    )


def tensors(predictions: Predictions) -> tuple[torch.Tensor, torch.Tensor]:
    """Return probabilities and targets as tensors, which share their memory where they may."""
    probabilities, targets = (
        torch.from_numpy(array) if array.flags.writeable else torch.tensor(array)
        for array in (predictions.probabilities, predictions.targets)
    )
    return probabilities, targets
