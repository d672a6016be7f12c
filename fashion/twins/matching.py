"""Twins among pictures: candidates from an index of coarse edges, aligned and compared.

The index holds whole photos; they are looked for in it whole and as crops.
"""

import os

import faiss
import numpy as np

from fashion.cores import usable_cores
from fashion.twins.alignment import Pairs, compare
from fashion.twins.thumbnail_store import Thumbnails
from fashion.twins.thumbnails import COARSE, VIEWS

MAX_DISTANCE = 0.12  # of twins
ALIKE, ALIKE_CROP = 0.9, 0.93  # least cosine of two in the index
GAIN = 0.02  # least that a crop adds to it
NEIGHBOURS = 10
LISTS, PHOTOS_A_LIST = 8, 40  # that are searched, and that a list is worth
BLOCK = 2**13  # photos or pairs in memory at once


def find_pairs(thumbnails: Thumbnails) -> Pairs:
    """Return the twins among pictures, as far as the index brings them together."""
    if "OMP_NUM_THREADS" not in os.environ:  # faiss knows no quota
        faiss.omp_set_num_threads(usable_cores())
    readable = np.flatnonzero(thumbnails.take("sizes")[:, 0])
    index, size = _index(thumbnails, readable), len(thumbnails)
    twins = [Pairs(readable[:0], readable[:0], np.empty(0, np.float32))]
    for view in range(VIEWS):
        paired = np.concatenate([_codes(*pairs[:2], size) for pairs in twins])
        codes = _candidates(thumbnails, index, readable, view)
        for start in range(0, len(codes), BLOCK):
            a, b = np.divmod(codes[start : start + BLOCK], size)
            new = ~np.isin(_codes(a, b, size), paired)
            pairs = compare(thumbnails, a[new], b[new], view)
            twins.append(pairs.where(pairs.distance <= MAX_DISTANCE))
    return Pairs(*(np.concatenate(parts) for parts in zip(*twins, strict=True)))


def _codes(a: np.ndarray, b: np.ndarray, size: int) -> np.ndarray:
    """Return a number for each pair of `size` photos, in either order, `(P,)` int64."""
    codes: np.ndarray = np.minimum(a, b) * size + np.maximum(a, b)
    return codes


def _candidates(
    thumbnails: Thumbnails, index: faiss.Index, readable: np.ndarray, view: int
) -> np.ndarray:
    """Return photos seen in a view and their neighbours in the index, `(P,)` int64.

    Each is the number of the one times N, and that of the other.
    """
    blocks = (readable[start : start + BLOCK] for start in range(0, len(readable), BLOCK))
    found = [_neighbours(thumbnails, index, readable, photos, view) for photos in blocks]
    codes = np.concatenate([readable[:0], *found])
    return codes if view else np.unique(codes)


def _neighbours(
    thumbnails: Thumbnails,
    index: faiss.Index,
    readable: np.ndarray,
    photos: np.ndarray,
    view: int,
) -> np.ndarray:
    """Return the candidates of some photos, see `_candidates`; as wholes, in either order."""
    cosines, places = index.search(_directions(thumbnails, photos, view), NEIGHBOURS + 1)
    cosines, places = cosines.ravel(), places.ravel()
    a, b = np.repeat(photos, NEIGHBOURS + 1), readable[places]
    near = (cosines > (ALIKE_CROP if view else ALIKE)) & (places >= 0) & (a != b)
    a, b, size = a[near], b[near], len(thumbnails)
    if view == 0:
        return _codes(a, b, size)
    # Like products are as alike whole.
    alike = (_directions(thumbnails, a) * _directions(thumbnails, b)).sum(axis=1)
    codes: np.ndarray = (a * size + b)[cosines[near] - alike > GAIN]
    return codes


def _directions(thumbnails: Thumbnails, photos: np.ndarray, view: int = 0) -> np.ndarray:
    """Return photos as unit vectors that don't tell brightness and contrast."""
    grey = thumbnails.take("coarse", photos)[:, view].astype(np.float32)
    grey -= grey.mean(axis=1, keepdims=True)
    faiss.normalize_L2(grey)
    return grey


def _index(thumbnails: Thumbnails, readable: np.ndarray) -> faiss.Index:
    lists = int(4 * len(readable) ** 0.5)
    width, metric = COARSE * COARSE, faiss.METRIC_INNER_PRODUCT
    if len(readable) < PHOTOS_A_LIST * lists:  # too few to be sorted into lists
        index = faiss.index_factory(width, "Flat", metric)
    else:
        index = faiss.index_factory(width, f"IVF{lists},Flat", metric)
        sample = readable[:: len(readable) // (PHOTOS_A_LIST * lists)]
        index.train(_directions(thumbnails, sample))
        faiss.extract_index_ivf(index).nprobe = LISTS
    for start in range(0, len(readable), BLOCK):
        index.add(_directions(thumbnails, readable[start : start + BLOCK]))
    return index
