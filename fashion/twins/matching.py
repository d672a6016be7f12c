"""Twins among pictures: candidates from an index of coarse edges, aligned and compared.

The index holds whole photos; they are looked for in it whole and as crops.
"""

import faiss
import numpy as np

from fashion.twins.alignment import Pairs, compare
from fashion.twins.thumbnails import Thumbnails

MAX_DISTANCE = 0.12  # of twins
ALIKE, ALIKE_CROP = 0.9, 0.93  # least cosine of two in the index
GAIN = 0.02  # least that a crop adds to it
NEIGHBOURS = 10
LISTS, PHOTOS_A_LIST = 8, 40  # that are searched, and that a list is worth


def find_pairs(thumbnails: Thumbnails) -> Pairs:
    """Return the twins among pictures, as far as the index brings them together."""
    readable = np.flatnonzero(thumbnails.sizes[:, 0])
    index = _index(_directions(thumbnails.coarse[0, readable]))
    twins: list[Pairs] = []
    paired: set[tuple[int, int]] = set()  # in either order
    for view in range(len(thumbnails.coarse)):
        a, b = _candidates(thumbnails, index, readable, view)
        new = [pair not in paired for pair in zip(a.tolist(), b.tolist(), strict=True)]
        pairs = compare(thumbnails, a[new], b[new], view)
        twins.append(pairs.where(pairs.distance <= MAX_DISTANCE))
        one, other = twins[-1].a.tolist(), twins[-1].b.tolist()
        paired |= {*zip(one, other, strict=True), *zip(other, one, strict=True)}
    return Pairs(*(np.concatenate(parts) for parts in zip(*twins, strict=True)))


def _candidates(
    thumbnails: Thumbnails, index: faiss.Index, readable: np.ndarray, view: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the photos `(P,)` and their neighbours in the index `(P,)`, seen in a view."""
    seen, whole = _directions(thumbnails.coarse[view, readable]), thumbnails.coarse[0]
    cosines, places = index.search(seen, NEIGHBOURS + 1)
    cosines, places = cosines.ravel(), places.ravel()
    a, b = np.repeat(readable, NEIGHBOURS + 1), readable[places]
    near = (cosines > (ALIKE_CROP if view else ALIKE)) & (places >= 0) & (a != b)
    a, b = a[near], b[near]
    if view == 0:
        a, b = np.unique(np.sort(np.stack([a, b]), axis=0), axis=1)
        return a, b
    # Like products are as alike whole.
    gain = cosines[near] - (_directions(whole[a]) * _directions(whole[b])).sum(axis=1)
    return a[gain > GAIN], b[gain > GAIN]


def _directions(coarse: np.ndarray) -> np.ndarray:
    """Return thumbnails as unit vectors that don't tell brightness and contrast."""
    grey = coarse.astype(np.float32)
    grey -= grey.mean(axis=1, keepdims=True)
    faiss.normalize_L2(grey)
    return grey


def _index(directions: np.ndarray) -> faiss.Index:
    lists = int(4 * len(directions) ** 0.5)
    width, metric = directions.shape[1], faiss.METRIC_INNER_PRODUCT
    if len(directions) < PHOTOS_A_LIST * lists:  # too few to be sorted into lists
        index = faiss.index_factory(width, "Flat", metric)
    else:
        index = faiss.index_factory(width, f"IVF{lists},Flat", metric)
        index.train(directions)
        faiss.extract_index_ivf(index).nprobe = LISTS
    index.add(directions)
    return index
