"""Two photos aligned, and how far they then differ in structure.

Only what is left after the one photo's colours are mixed from the other's counts as difference, so
that a recoloured photo is near, and another photo of a like product is not.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fashion.twins.thumbnails import SIDE, Thumbnails

OUTLINE_WEIGHT = 0.3  # how much pixels near the white around count
EVIDENCE = 1.0  # squared structure inside the outline, in pixels, that halves a correlation
RIDGE = 0.01  # of a photo's whole variance, so that grey photos have no colours to mix
COARSE_STEPS, FINE_STEPS = (3.0, 1.5), (1.0, 0.5)  # pixels, by which pairs are aligned
PROMISING = 0.45  # distance of pairs that are worth coarse steps
HOPEFUL = 0.22  # distance after them of pairs that are worth fine ones
CHUNK = 1_024


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
    distances = np.ones(len(a), np.float32)
    for start in range(0, len(a), CHUNK):
        part = slice(start, start + CHUNK)
        distances[part] = _compare(thumbnails, a[part], b[part], view)
    return Pairs(a, b, distances.clip(0, 1))


def _compare(thumbnails: Thumbnails, a: np.ndarray, b: np.ndarray, view: int) -> np.ndarray:
    weights = torch.from_numpy(thumbnails.outline[b]) * (OUTLINE_WEIGHT - 1) + 1
    if view:  # a crop's own rim is an edge that the whole doesn't have
        weights = weights * _inside(torch.from_numpy(thumbnails.sizes[b]))
    halved = F.avg_pool2d(weights[:, None], 2)[:, 0]
    warp = torch.from_numpy(thumbnails.warps[view, a])
    whole, other = (torch.from_numpy(thumbnails.half[photos]) / 127 for photos in (a, b))
    distance = _distance(whole, other, halved, warp)
    near = torch.nonzero(distance < PROMISING)[:, 0]
    if len(near):
        distance[near], warp[near] = _aligned(
            whole[near], other[near], halved[near], warp[near], COARSE_STEPS
        )
    near = torch.nonzero(distance < HOPEFUL)[:, 0]
    if len(near):
        rows = near.numpy()
        whole, other = (torch.from_numpy(thumbnails.fine[photos[rows]]) / 127 for photos in (a, b))
        distance[near], _ = _aligned(whole, other, weights[near], warp[near], FINE_STEPS)
    return distance.numpy()


def _inside(sizes: Tensor) -> Tensor:
    """Mask the product in thumbnails `(n, 48, 48)`, but for its rim, where a crop cuts."""
    place = (torch.arange(SIDE) - (SIDE - 1) / 2).abs()
    within = place < sizes[:, :, None] / 2 - 3  # (n, width and height, 48)
    return (within[:, 1, :, None] & within[:, 0, None, :]).float()


def _aligned(
    whole: Tensor, other: Tensor, weights: Tensor, warp: Tensor, steps: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Return the least distance that moving and scaling by some steps finds, and the warp there."""
    least = _distance(whole, other, weights, warp)
    for step, axis, sign in product(steps, range(3), (-1, 1)):
        move = torch.zeros(3)
        move[axis] = sign * step * (2 / SIDE if axis == 0 else 1)
        moved = warp + move
        distance = _distance(whole, other, weights, moved)
        better = distance < least
        least = torch.where(better, distance, least)
        warp = torch.where(better[:, None], moved, warp)
    return least, warp


def _distance(whole: Tensor, other: Tensor, weights: Tensor, warp: Tensor) -> Tensor:
    """Return 1 less the multiple correlation of structures, that of `whole` being warped.

    Args:
        whole: `(n, 3, S, S)`.
        other: `(n, 3, S, S)`.
        weights: `(n, S, S)` of the pixels of `other`.
        warp: `(n, 3)`, see `Thumbnails.warps`.
    """
    scale, shift = warp[:, :1, None], warp[:, 1:, None] * 2 / SIDE
    matrix = torch.cat([torch.eye(2) * scale, shift], dim=2)
    grid = F.affine_grid(matrix, [len(whole), 1, *whole.shape[2:]], align_corners=False)
    seen, root = F.grid_sample(whole, grid, align_corners=False), weights.sqrt()[:, None]
    one, two = (seen * root).flatten(2), (other * root).flatten(2)
    ones, twos, both = one @ one.mT, two @ two.mT, one @ two.mT
    explained = torch.minimum(_explained(ones, twos, both), _explained(twos, ones, both.mT))
    # The outline alone, which is all that a narrow product has, is no evidence.
    inner = (other.square().sum(1) * (weights == 1)).sum((1, 2))
    evidence = inner / (inner + EVIDENCE * (whole.shape[3] / SIDE) ** 2)
    return 1 - explained.clamp(0, 1).sqrt() * evidence


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
