"""Write labels as CSV, a row for each photo."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fashion.attributes import Heads
from fashion.tables import TOP, attribute_columns, mark_text


class LabelsTable:
    """How labels are told in a CSV.

    The columns are `photo`, `label_1`, `probability_1` … up to five, `sure` (yes or no) where a
    threshold is given, `name_used` (yes or no) where names are, and `error`. A label below the
    threshold stands there and counts as refused. Before `error` each attribute has two, such as
    `gender` and `gender_probability`.

    Args:
        class_names: The K labels.
        threshold: The confidence that a sure label has at least; None: there is no such column.
        attributes: The values of each attribute, by its name.
        with_names: Whether there are names.
        named_threshold: The threshold of labels by photo and name.

    Attributes:
        columns: The names of the columns.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        threshold: float | None = None,
        attributes: Mapping[str, Sequence[str]] | None = None,
        *,
        with_names: bool = False,
        named_threshold: float | None = None,
    ) -> None:
        self.class_names = class_names
        self.heads = Heads.of(class_names, attributes)
        self.threshold = threshold
        top = min(TOP, len(class_names))
        likeliest = [
            f"{kind}_{place}" for place in range(1, top + 1) for kind in ("label", "probability")
        ]
        self._top = top
        self._verdict = [] if threshold is None else ["sure"]
        self._used = ["name_used"] if with_names else []
        self._named_threshold = named_threshold
        others = [column for pair in attribute_columns(self.heads.attributes) for column in pair]
        self.columns = ["photo", *likeliest, *self._verdict, *self._used, *others, "error"]

    def row(
        self, name: str, outcome: NDArray[np.float32] | str, *, name_used: bool = False
    ) -> list[str]:
        """Return the cells of a photo.

        Args:
            name: The photo's.
            outcome: Its probabilities `(W,)`, see `fashion.attributes`, or what is wrong with it.
            name_used: Whether they are by its name, too.
        """
        photo = str(mark_text(name))
        if isinstance(outcome, str):
            return [photo, *[""] * (len(self.columns) - 2), str(mark_text(outcome))]
        sure, own = [], self.heads.outputs(outcome[None])[0][0]
        if self.threshold is not None:
            threshold = self._named_threshold if name_used else self.threshold
            sure = ["yes" if threshold is not None and own.max() >= threshold else "no"]
        used = ["yes" if name_used else "no"] if self._used else []
        others = [
            cell
            for value, probability in self.heads.values(outcome)
            for cell in (str(mark_text(value)), f"{probability:.6f}")
        ]
        return [photo, *self._likeliest(own), *sure, *used, *others, ""]

    def kind(self, row: Sequence[str]) -> str:
        """Return whether a photo is `labelled`, `refused` or `unreadable`, by its cells."""
        if not row[self.columns.index("probability_1")]:
            return "unreadable"
        is_refused = self._verdict and row[self.columns.index("sure")] == "no"
        return "refused" if is_refused else "labelled"

    def _likeliest(self, probabilities: NDArray[np.float32]) -> list[str]:
        likeliest = np.argsort(-probabilities, kind="stable")[: self._top]
        labels = [
            (str(mark_text(self.class_names[k])), f"{probabilities[k]:.6f}") for k in likeliest
        ]
        return [cell for label in labels for cell in label]


def csv_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows as they stand in a CSV; bytes in names that are no UTF-8 stay what they are."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
