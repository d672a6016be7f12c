"""Twins among pictures: candidates from an index of coarse edges, aligned and compared.

The index holds whole photos; they are looked for in it whole and as crops.
"""

import numpy as np

from fashion.twins.alignment import Pairs, compare
from fashion.twins.edge_index import EdgeIndex
from fashion.twins.thumbnail_store import Thumbnails
from fashion.twins.thumbnails import VIEWS

MAX_DISTANCE = 0.12  # of twins
ALIKE, ALIKE_CROP = 0.9, 0.93  # least cosine of two in the index
GAIN = 0.02  # least that a crop adds to it
NEIGHBOURS = 10
BLOCK, PAIRS = 2**17, 2**15  # photos and pairs in memory at once


def find_pairs(thumbnails: Thumbnails) -> Pairs:
    """Return the twins among pictures, as far as the index brings them together."""
    readable = _readable(thumbnails, np.arange(len(thumbnails)))
    return _find(thumbnails, [(readable, readable)])


def find_pairs_between(thumbnails: Thumbnails, ours: np.ndarray, theirs: np.ndarray) -> Pairs:
    """Return the twins of which one is among some pictures and the other among others.

    Args:
        thumbnails: Those of all.
        ours: Numbers of pictures, `(n,)`.
        theirs: Numbers of other ones, `(m,)`.
    """
    ours, theirs = _readable(thumbnails, ours), _readable(thumbnails, theirs)
    if not len(ours) or not len(theirs):
        return Pairs(ours[:0], ours[:0], np.empty(0, np.float32))
    return _find(thumbnails, [(ours, theirs), (theirs, ours)])


def _readable(thumbnails: Thumbnails, pictures: np.ndarray) -> np.ndarray:
    """Return those of some pictures that can be decoded, in their order."""
    return pictures[thumbnails.take("sizes", pictures)[:, 0] > 0]


def _find(thumbnails: Thumbnails, searches: list[tuple[np.ndarray, np.ndarray]]) -> Pairs:
    """Return the twins that searches find: of some pictures, whole and cropped, among others."""
    size, nothing = len(thumbnails), np.empty(0, np.int64)
    twins = [Pairs(nothing, nothing, np.empty(0, np.float32))]
    for asked, indexed in searches:
        index = _index(thumbnails, indexed)
        for view in range(VIEWS):
            paired = np.concatenate([_codes(*pairs[:2], size) for pairs in twins])
            codes = _candidates(thumbnails, index, indexed, asked, view)
            for start in range(0, len(codes), PAIRS):
                a, b = np.divmod(codes[start : start + PAIRS], size)
                new = ~np.isin(_codes(a, b, size), paired)
                pairs = compare(thumbnails, a[new], b[new], view)
                twins.append(pairs.where(pairs.distance <= MAX_DISTANCE))
    return Pairs(*(np.concatenate(parts) for parts in zip(*twins, strict=True)))


def _codes(a: np.ndarray, b: np.ndarray, size: int) -> np.ndarray:
    """Return a number for each pair of `size` photos, in either order, `(P,)` int64."""
    codes: np.ndarray = np.minimum(a, b) * size + np.maximum(a, b)
    return codes


def _candidates(
    thumbnails: Thumbnails, index: EdgeIndex, indexed: np.ndarray, asked: np.ndarray, view: int
) -> np.ndarray:
    """Return photos seen in a view and their neighbours in the index, `(P,)` int64.

    Each is the number of the one times N, and that of the other.
    """
    blocks = (asked[start : start + BLOCK] for start in range(0, len(asked), BLOCK))
    found = [_neighbours(thumbnails, index, indexed, photos, view) for photos in blocks]
    codes = np.concatenate([asked[:0], *found])
    return codes if view else np.unique(codes)


def _neighbours(
    thumbnails: Thumbnails,
    index: EdgeIndex,
    indexed: np.ndarray,
    photos: np.ndarray,
    view: int,
) -> np.ndarray:
    """Return the candidates of some photos, see `_candidates`; as wholes, in either order."""
    edges, size = thumbnails.take("coarse", photos), len(thumbnails)
    least = ALIKE_CROP if view else ALIKE
    near = index.near(_directions(edges[:, view]), least, NEIGHBOURS + 1)
    near = near.where(photos[near.query] != indexed[near.vector])
    a, b = photos[near.query], indexed[near.vector]
    if view == 0:
        return _codes(a, b, size)
    # Like products are as alike whole.
    whole, alike = _directions(edges[:, 0]), np.empty_like(near.cosine)
    for part in (slice(start, start + PAIRS) for start in range(0, len(a), PAIRS)):
        one, other = whole[near.query[part]], index.vectors(near.vector[part])
        alike[part] = (one * other).sum(axis=1)
    codes: np.ndarray = (a * size + b)[near.cosine - alike > GAIN]
    return codes


def _directions(edges: np.ndarray) -> np.ndarray:
    """Return edges `(n, D)` as unit vectors that don't tell brightness and contrast."""
    grey = edges.astype(np.float32)
    grey -= grey.mean(axis=1, keepdims=True)
    length = np.linalg.norm(grey, axis=1, keepdims=True)
    np.divide(grey, length, out=grey, where=length > 0)
    return grey


def _index(thumbnails: Thumbnails, indexed: np.ndarray) -> EdgeIndex:
    def edges(some: np.ndarray) -> np.ndarray:
        return thumbnails.take("coarse", indexed[some])[:, 0].copy()  # the other views go

    return EdgeIndex(edges, _directions, len(indexed))
