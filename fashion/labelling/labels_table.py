"""Write labels as CSV, a row for each photo."""

import csv
import io
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fashion.files import replacing
from fashion.tables import mark_text

TOP = 5


def write_labels(
    path: Path,
    class_names: Sequence[str],
    rows: Iterable[tuple[str, NDArray[np.float32] | str]],
    threshold: float | None = None,
) -> dict[str, int]:
    """Write one CSV row a photo, whole or not at all.

    The columns are `photo`, `label_1`, `probability_1` … up to five, `sure` (yes or no) where a
    threshold is given, and `error`. A label below the threshold stands there and counts as refused.

    Args:
        path: Its folder exists.
        class_names: The K labels.
        rows: Each photo's name with its probabilities `(K,)`, or with what is wrong with it.
        threshold: The confidence that a sure label has at least.

    Returns:
        How many photos were `labelled`, `refused` and `unreadable`.
    """
    top = min(TOP, len(class_names))
    columns = [
        f"{kind}_{place}" for place in range(1, top + 1) for kind in ("label", "probability")
    ]
    verdict = [] if threshold is None else ["sure"]
    counts = dict.fromkeys(("labelled", "refused", "unreadable"), 0)
    encoded = partial(io.TextIOWrapper, newline="", encoding="utf-8", errors="surrogateescape")
    with replacing(path) as raw, encoded(raw) as file:
        writer = csv.writer(file)
        writer.writerow(["photo", *columns, *verdict, "error"])
        for name, outcome in rows:
            if isinstance(outcome, str):
                counts["unreadable"] += 1
                blank = [""] * len([*columns, *verdict])
                writer.writerow([mark_text(name), *blank, mark_text(outcome)])
                continue
            is_sure = threshold is None or outcome.max() >= threshold
            counts["labelled" if is_sure else "refused"] += 1
            cells = _likeliest(class_names, outcome, top)
            sure = [] if threshold is None else ["yes" if is_sure else "no"]
            writer.writerow([mark_text(name), *cells, *sure, ""])
    return counts


def _likeliest(
    class_names: Sequence[str], probabilities: NDArray[np.float32], top: int
) -> list[object]:
    likeliest = np.argsort(-probabilities, kind="stable")[:top]
    labels = [(mark_text(class_names[k]), f"{probabilities[k]:.6f}") for k in likeliest]
    return [cell for label in labels for cell in label]
