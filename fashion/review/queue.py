"""The photos of a review folder that wait for a decision, in the order in which they are asked."""

import json
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

UNSURE: Literal["unsure"] = "unsure"
BLIND: Literal["blind"] = "blind"
FIRST = {UNSURE: "u", BLIND: "v"}  # letters of their turns: unsure photos come first
AT_MOST = 500  # photos of one answer
WAITING = """
SELECT sha256, (SELECT min(name) FROM names WHERE names.sha256 = photos.sha256), width, height,
    kind, turn, (SELECT labels FROM predictions WHERE predictions.sha256 = photos.sha256
        ORDER BY at DESC LIMIT 1)
FROM photos WHERE decided = 0 AND turn > ? AND turn < ? ORDER BY turn LIMIT ?
"""
Rows = Callable[..., list[tuple[Any, ...]]]


class Queued(NamedTuple):
    """A photo that waits.

    Attributes:
        sha256: Of its file.
        name: As it was sent, one of several.
        width: In pixels.
        height: In pixels.
        kind: `unsure` or `blind`.
        labels: The likeliest with their probabilities; none of a blind photo.
    """

    sha256: str
    name: str
    width: int
    height: int
    kind: str
    labels: list[tuple[str, float]]


class Queue(NamedTuple):
    """Photos that wait.

    Attributes:
        photos: The next ones.
        left: How many wait in all.
        next: What to pass for those after these; None where there are none.
    """

    photos: list[Queued]
    left: int
    next: str | None


def turn_of(sha256: str, kind: Literal["unsure", "blind"], confidence: float, draw: float) -> str:
    """Return the text by which a photo is sorted: unsure ones by confidence, the least first.

    Blind ones are in the order of their draw, so that those decided so far are a random part.
    """
    return f"{FIRST[kind]}{draw if kind == BLIND else confidence:.9f}{sha256}"


def read_queue(rows: Rows, kind: str | None, limit: int, after: str | None) -> Queue:
    """Return photos that nobody has decided on.

    Args:
        rows: Queries the database.
        kind: `unsure`, `blind`, or None for both.
        limit: How many at most, 1 to `AT_MOST`.
        after: What the answer before said; None: from the first on.

    Raises:
        ValueError: The kind is unknown, or the limit out of range.
    """
    if kind is not None and kind not in FIRST:
        raise ValueError(f"kind={kind!r} is unknown; pass {UNSURE} or {BLIND}.")
    if not 1 <= limit <= AT_MOST:
        raise ValueError(f"limit={limit} must be from 1 to {AT_MOST}.")
    first, last = ("u", "w") if kind is None else (FIRST[kind], chr(ord(FIRST[kind]) + 1))
    found = rows(WAITING, max(after or first, first), last, limit + 1)
    photos = [
        Queued(sha256, name, width, height, its_kind, _labels(labels, its_kind))
        for sha256, name, width, height, its_kind, _, labels in found[:limit]
    ]
    count = "SELECT count(*) FROM photos WHERE decided = 0 AND turn > ? AND turn < ?"
    left = rows(count, first, last)[0][0]
    return Queue(photos, left, found[limit - 1][5] if len(found) > limit else None)


def _labels(text: str, kind: str) -> list[tuple[str, float]]:
    return [] if kind == BLIND else [(label, share) for label, share in json.loads(text)]
