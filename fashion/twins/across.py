"""Photos that show the same picture as photos of another catalogue."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fashion.twins.groups import VERSION, distinct_pictures, kept_or_found
from fashion.twins.matching import find_pairs_between
from fashion.twins.thumbnail_store import ThumbnailStore


class Side(NamedTuple):
    """Some photos.

    Attributes:
        keys: `(N,)` V16, as `fashion.catalogue.root.CatalogueRoot.keys` returns them.
        names: The N that `read` takes.
        read: Returns the file of a name.
    """

    keys: np.ndarray
    names: list[str]
    read: Callable[[str], bytes]


class Nearest(NamedTuple):
    """The twin of each of N photos among others.

    Attributes:
        places: `(N,)` int64, its number among them, -1 of a photo without any.
        distances: `(N,)` float64, see `fashion.twins.groups.find_twins`.
    """

    places: np.ndarray
    distances: np.ndarray


def find_nearest(ours: Side, theirs: Side, cache_dir: Path) -> Nearest:
    """Find for each of our photos the nearest twin among theirs, or read what was found before.

    Args:
        ours: Some photos.
        theirs: Those of another catalogue; of equal ones the first counts.
        cache_dir: Where thumbnails, and what was found, are kept.

    Raises:
        OSError: A photo can't be read now, or the folder can't be written.
    """
    digest = hashlib.sha256(f"across {VERSION}\n{len(ours.keys)}\n".encode())
    digest.update(ours.keys.tobytes() + theirs.keys.tobytes())
    return Nearest(
        *kept_or_found(
            cache_dir, digest.hexdigest(), len(ours.keys), partial(_find, ours, theirs, cache_dir)
        )
    )


def _find(ours: Side, theirs: Side, cache_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    store = ThumbnailStore(cache_dir)
    for side in (ours, theirs):
        store.fill(side.keys, side.names, side.read)
    thumbnails = store.of(np.concatenate([ours.keys, theirs.keys]))
    pictures, picture = distinct_pictures(thumbnails)
    own, other = picture[: len(ours.keys)], picture[len(ours.keys) :]
    first = np.full(len(pictures), len(other))  # of theirs that shows a picture
    np.minimum.at(first, other, np.arange(len(other)))
    is_theirs = first < len(other)
    best, distance = np.where(is_theirs, first, -1), np.where(is_theirs, 0.0, np.inf)
    asked = np.setdiff1d(own, np.flatnonzero(is_theirs))
    pairs = find_pairs_between(thumbnails.of(pictures), asked, np.flatnonzero(is_theirs))
    for a, b in ((pairs.a, pairs.b), (pairs.b, pairs.a)):
        here = is_theirs[b]
        order = np.flatnonzero(here)[np.argsort(-pairs.distance[here], kind="stable")]
        nearer = order[pairs.distance[order] < distance[a[order]]]
        best[a[nearer]] = first[b[nearer]]  # of several the last, which is the nearest
        np.minimum.at(distance, a[nearer], pairs.distance[nearer].astype(float))
    return best[own], np.where(best[own] < 0, 0.0, distance[own])
