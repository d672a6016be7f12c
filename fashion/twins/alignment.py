"""Two photos aligned, and how far they then differ in structure.

Only what is left after the one photo's colours are mixed from the other's counts as difference, so
that a recoloured photo is near, and another photo of a like product is not.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fashion.cores import one_thread_an_operation, usable_cores
from fashion.twins.thumbnail_store import Thumbnails
from fashion.twins.thumbnails import SIDE

OUTLINE_WEIGHT = 0.3  # how much pixels near the white around count
EVIDENCE = 1.0  # squared structure inside the outline, in pixels, that halves a correlation
RIDGE = 0.01  # of a photo's whole variance, so that grey photos have no colours to mix
# Pixels by which pairs are aligned, and the distance below which they are worth it: the published
# catalogue's groups are those of all pairs aligned to the end; of 0.4 and 0.3 in the first two one
# is lost.
COARSE_STEPS, FINE_STEPS = ((3.0, 0.45), (1.5, 0.35)), ((1.0, 1.0), (0.5, 0.4))
HOPEFUL = 0.22  # distance after coarse steps of pairs that are worth fine ones
CHUNK, FINE_CHUNK = 512, 128  # pairs at once, whose numbers stay in the caches


class Pairs(NamedTuple):
    """`P` pairs of photos.

    Attributes:
        a: `(P,)` int64.
        b: `(P,)` int64, the one that is a crop where one of them is.
        distance: `(P,)` float32 in [0, 1].
    """

    a: np.ndarray
    b: np.ndarray
    distance: np.ndarray

    def where(self, chosen: np.ndarray) -> "Pairs":
        """Return the pairs that a mask `(P,)` chooses."""
        return Pairs(self.a[chosen], self.b[chosen], self.distance[chosen])


def compare(thumbnails: Thumbnails, a: np.ndarray, b: np.ndarray, view: int) -> Pairs:
    """Align photos with others in a view of theirs, and measure how far they differ.

    Args:
        thumbnails: Of all photos.
        a: `(P,)` int64, the photos that are seen in the view.
        b: `(P,)` int64, those that are compared with it.
        view: 0 for the whole, or the number of a crop.
    """
    chunks = [slice(start, start + CHUNK) for start in range(0, len(a), CHUNK)]
    with one_thread_an_operation(), ThreadPoolExecutor(usable_cores()) as pool:
        parts = pool.map(lambda part: _compare(thumbnails, a[part], b[part], view), chunks)
        distances = np.concatenate([np.empty(0, np.float32), *parts])
    return Pairs(a, b, distances.clip(0, 1))


class _Shown(NamedTuple):
    """What pictures are compared with: `n` photos, by the pixels that count.

    Attributes:
        root: `(n, 1, S, S)` of the weights of pixels.
        structure: `(n, 3, S * S)` times that.
        products: `(n, 3, 3)` of its colours with each other.
        evidence: `(n,)` in [0, 1), how much there is to go by.
    """

    root: Tensor
    structure: Tensor
    products: Tensor
    evidence: Tensor

    @classmethod
    def of(cls, structure: Tensor, weights: Tensor) -> "_Shown":
        """Take structure `(n, 3, S, S)` with weights `(n, S, S)`."""
        root = weights.sqrt()[:, None]
        weighted = (structure * root).flatten(2)
        # The outline alone, which is all that a narrow product has, is no evidence.
        inner = (structure.square().sum(1) * (weights == 1)).sum((1, 2))
        evidence = inner / (inner + EVIDENCE * (structure.shape[3] / SIDE) ** 2)
        return cls(root, weighted, weighted @ weighted.mT, evidence)

    def where(self, chosen: Tensor) -> "_Shown":
        """Return those of some photos."""
        return _Shown(*(part[chosen] for part in self))


def _compare(thumbnails: Thumbnails, a: np.ndarray, b: np.ndarray, view: int) -> np.ndarray:
    weights = torch.from_numpy(thumbnails.take("outline", b)) * (OUTLINE_WEIGHT - 1) + 1
    if view:  # a crop's own rim is an edge that the whole doesn't have
        weights = weights * _inside(torch.from_numpy(thumbnails.take("sizes", b)))
    warp = torch.from_numpy(thumbnails.take("warps", a)[:, view])
    whole, other = (_structures(thumbnails, "half", photos) for photos in (a, b))
    shown = _Shown.of(other, F.avg_pool2d(weights[:, None], 2)[:, 0])
    distance, warp = _aligned(whole, shown, warp, COARSE_STEPS)
    for near in torch.split(torch.nonzero(distance < HOPEFUL)[:, 0], FINE_CHUNK):
        rows = near.numpy()
        whole, other = (_structures(thumbnails, "fine", photos[rows]) for photos in (a, b))
        distance[near], _ = _aligned(whole, _Shown.of(other, weights[near]), warp[near], FINE_STEPS)
    return distance.numpy()


def _structures(thumbnails: Thumbnails, name: str, photos: np.ndarray) -> Tensor:
    return torch.from_numpy(thumbnails.take(name, photos)) / 127


def _inside(sizes: Tensor) -> Tensor:
    """Mask the product in thumbnails `(n, 48, 48)`, but for its rim, where a crop cuts."""
    place = (torch.arange(SIDE) - (SIDE - 1) / 2).abs()
    within = place < sizes[:, :, None] / 2 - 3  # (n, width and height, 48)
    return (within[:, 1, :, None] & within[:, 0, None, :]).float()


def _aligned(
    whole: Tensor, shown: _Shown, warp: Tensor, steps: tuple[tuple[float, float], ...]
) -> tuple[Tensor, Tensor]:
    """Return the least distance that moving and scaling by some steps finds, and the warp there.

    Args:
        whole: `(n, 3, S, S)`.
        shown: What they are compared with.
        warp: `(n, 3)`, as they are.
        steps: In pixels, each with the distance below which a pair takes it.
    """
    distance, warp = _distance(whole, shown, warp), warp.clone()
    for step, worth in steps:
        near = torch.nonzero(distance < worth)[:, 0]
        if len(near):
            distance[near], warp[near] = _moved(
                whole[near], shown.where(near), distance[near], warp[near], step
            )
    return distance, warp


def _moved(
    whole: Tensor, shown: _Shown, least: Tensor, warp: Tensor, step: float
) -> tuple[Tensor, Tensor]:
    """Return the least distance, and the warp there, after a step each way where it is better."""
    for axis, sign in product(range(3), (-1, 1)):
        move = torch.zeros(3)
        move[axis] = sign * step * (2 / SIDE if axis == 0 else 1)
        moved = warp + move
        distance = _distance(whole, shown, moved)
        better = distance < least
        least = torch.where(better, distance, least)
        warp = torch.where(better[:, None], moved, warp)
    return least, warp


def _distance(whole: Tensor, shown: _Shown, warp: Tensor) -> Tensor:
    """Return 1 less the multiple correlation of structures, that of `whole` being warped.

    Args:
        whole: `(n, 3, S, S)`.
        shown: What they are compared with.
        warp: `(n, 3)`, see `FIELDS`.
    """
    side = whole.shape[3]
    middles = (torch.arange(side) * 2 + 1) / side - 1  # of pixels, from -1 to 1
    places = middles * warp[:, :1, None] + warp[:, 1:, None] * 2 / SIDE  # (n, across and down, S)
    grid = torch.empty(len(whole), 2, side, side)  # rows in sequence: sampled the fastest
    grid[:, 0], grid[:, 1] = places[:, 0, None], places[:, 1, :, None]
    moved = F.grid_sample(whole, grid.permute(0, 2, 3, 1), align_corners=False)
    one = moved.mul_(shown.root).flatten(2)
    ones, both = one @ one.mT, one @ shown.structure.mT
    explained = torch.minimum(
        _explained(ones, shown.products, both), _explained(shown.products, ones, both.mT)
    )
    return 1 - explained.clamp(0, 1).sqrt() * shown.evidence


def _explained(one: Tensor, two: Tensor, both: Tensor) -> Tensor:
    """Return the share of the variance `two` that mixtures of the first colours explain.

    Args:
        one: `(n, 3, 3)` products of the first colours with each other.
        two: Those of the second ones.
        both: Those of the first with the second ones.
    """
    size = one.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    mixture = torch.linalg.solve(one + torch.eye(3) * (RIDGE * size + 1e-6), both)
    total = two.diagonal(dim1=1, dim2=2).sum(1)
    share: Tensor = (both * mixture).sum((1, 2)) / (total + 1e-6)
    return share
