"""Groups of photos that show the same picture, but for encoding, size, colour or a crop.

Candidates come from an index of coarse edges, of whole photos and of crops of them. A pair is then
aligned and compared in its structure, how each pixel differs from those around it, as far as one
photo's colours can be mixed from the other's: that of another photo of a like product differs.
Groups are made by complete linkage: a twin's twin need not be a twin.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from fashion.catalogue.images import UnreadableImageError, open_image
from fashion.catalogue.root import CatalogueRoot
from fashion.files import replacing

VERSION = 1  # raised whenever the same photos group otherwise
MAX_DISTANCE = 0.12
COLUMNS = ["group", "id", "label", "distance"]

SIDE, INNER = 48, 42  # of a thumbnail, and of the product in it, in pixels
SMALLEST = 8  # pixels of a product's side; of less, the whole photo is taken
PAPER = 235  # a pixel with a channel darker than this belongs to the product,
INKED = 0.02  # where so much of a row or column does: a JPEG blurs into the white around
AROUND, FAINT = 5, 10.0  # pixels, and levels below which a difference counts little
OUTLINE, OUTLINE_WEIGHT = 2, 0.3  # pixels from the white around, and how much these count
EVIDENCE = 1.0  # squared structure inside the outline, in pixels, that halves a correlation
RIDGE = 0.01  # of a photo's whole variance, so that grey photos have no colours to mix

COARSE = 12  # side of what the index holds
ALIKE, ALIKE_CROP = 0.9, 0.93  # least cosine of two in the index
GAIN = 0.02  # least that a crop adds to it
NEIGHBOURS = 10
LISTS, PHOTOS_A_LIST = 8, 40  # that are searched, and that a list is worth
# Left, top, right and bottom of the crops that are looked for, as fractions of the photo.
WHOLE = (0.0, 0.0, 1.0, 1.0)
CROPS = (
    *((0.05, 0.05, 0.95, 0.95), (0.1, 0.1, 0.9, 0.9)),
    *((0.15, 0.0, 1.0, 1.0), (0.0, 0.15, 1.0, 1.0), (0.0, 0.0, 0.85, 1.0), (0.0, 0.0, 1.0, 0.85)),
)
COARSE_STEPS, FINE_STEPS = (3.0, 1.5), (1.0, 0.5)  # pixels, by which pairs are aligned
PROMISING = 0.45  # distance of pairs that are worth coarse steps
HOPEFUL = 0.22  # distance after them of pairs that are worth fine ones
LARGEST = 2_000  # pictures compared each with each
CHUNK = 1_024
Box = tuple[float, float, float, float]


class Thumbnails(NamedTuple):
    """What is kept of `N` photos, seen whole and in `V - 1` crops.

    Attributes:
        fine: `(N, 3, 48, 48)` int8, structure of the product in 127ths, its sides in proportion,
            centred.
        half: `(N, 3, 24, 24)` int8, that of the product at half the size.
        outline: `(N, 48, 48)` bool, what is white or near it.
        digests: `(N,)` bytes that tell whether two products are the same to the pixel.
        sizes: `(N, 2)` int64, width and height of the product in `fine`; 0 if it can't be read.
        coarse: `(V, N, 144)` uint8, edges of the product in each view, stretched to 12 x 12.
        warps: `(V, N, 3)` float32, scale and shift (x, y), in pixels from the middle of a
            thumbnail, that take a place in a view's own thumbnail to the place in `fine`.
    """

    fine: np.ndarray
    half: np.ndarray
    outline: np.ndarray
    digests: np.ndarray
    sizes: np.ndarray
    coarse: np.ndarray
    warps: np.ndarray

    def of(self, photos: np.ndarray) -> "Thumbnails":
        """Return what is kept of some photos."""
        return Thumbnails(
            self.fine[photos],
            self.half[photos],
            self.outline[photos],
            self.digests[photos],
            self.sizes[photos],
            self.coarse[:, photos],
            self.warps[:, photos],
        )


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


def find_twins(root: CatalogueRoot, table: pd.DataFrame, cache_dir: Path) -> pd.DataFrame:
    """Find the photos that have twins, or read what was found before.

    Args:
        root: Reads the photos.
        table: The catalogue table, columns `id`, `photo` and `label`.
        cache_dir: Where the groups are kept, under a key made of the photos.

    Returns:
        The columns `group` (from 0, the largest first), `id`, `label` and `distance`: 1 less the
        correlation of the fine structure with that of the group's middle photo, in [0, 1].
    """
    digest = hashlib.sha256(f"{VERSION}\n".encode())
    for id_, photo in zip(table["id"], table["photo"], strict=True):
        digest.update(f"{id_}:{root.stamp(photo)}\n".encode("utf-8", "surrogateescape"))
    path = cache_dir / "twins" / f"{digest.hexdigest()[:16]}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            photos = table["photo"].tolist()
            groups, distances = group_photos(lambda i: root.read(photos[i]), len(photos))
            with replacing(path) as file:
                np.savez_compressed(file, groups=groups, distances=distances)
    with np.load(path) as stored:
        twins = table[["id", "label"]].assign(group=stored["groups"], distance=stored["distances"])
    return twins[twins["group"] >= 0].sort_values(["group", "distance"], kind="stable")[COLUMNS]


def groups_of_all(table: pd.DataFrame, twins: pd.DataFrame) -> "pd.Series[int]":
    """Return a group for each row of a table: that of its twins, or one of its own.

    Args:
        table: The catalogue table.
        twins: As `find_twins` returns it.
    """
    alone = pd.Series(-1 - np.arange(len(table)), index=table.index)
    return table["id"].map(twins.set_index("id")["group"]).fillna(alone).astype(int)


def group_photos(read: Callable[[int], bytes], num_photos: int) -> tuple[np.ndarray, np.ndarray]:
    """Return of each photo its group, -1 without twins, and its distance to the group's middle.

    Args:
        read: Returns the file of the photo of a number; one that can't be decoded has no twin.
        num_photos: N.
    """
    thumbnails = make_thumbnails(read, num_photos)
    pictures, picture = _distinct(thumbnails)
    distinct = thumbnails.of(pictures)
    groups, distances = np.arange(len(pictures)), np.zeros(len(pictures))
    for members, matrix in _components(distinct, find_pairs(distinct)):
        inside = fcluster(linkage(squareform(matrix), "complete"), MAX_DISTANCE, "distance")
        for number in np.unique(inside):
            chosen = np.flatnonzero(inside == number)
            block = matrix[np.ix_(chosen, chosen)]
            middle = block.sum(axis=1).argmin()
            groups[members[chosen]] = members[chosen[middle]]
            distances[members[chosen]] = block[middle]
    return _numbered(groups[picture]), distances[picture]


def make_thumbnails(read: Callable[[int], bytes], num_photos: int) -> Thumbnails:
    """Look at each photo once; see `group_photos`."""
    num_views = 1 + len(CROPS)
    found = Thumbnails(
        fine=np.zeros((num_photos, 3, SIDE, SIDE), np.int8),
        half=np.zeros((num_photos, 3, SIDE // 2, SIDE // 2), np.int8),
        outline=np.zeros((num_photos, SIDE, SIDE), bool),
        digests=np.zeros(num_photos, "S32"),
        sizes=np.zeros((num_photos, 2), np.int64),
        coarse=np.zeros((num_views, num_photos, COARSE * COARSE), np.uint8),
        warps=np.zeros((num_views, num_photos, 3), np.float32),
    )
    bar = tqdm(total=num_photos, desc="Looking for twins", unit="photo", disable=None)
    with ThreadPoolExecutor(os.cpu_count()) as pool, bar:
        for start in range(0, num_photos, CHUNK):
            part = slice(start, min(start + CHUNK, num_photos))
            looks = pool.map(lambda i: _look(read, i), range(part.start, part.stop))
            columns = zip(*looks, strict=True)
            products, views, found.sizes[part], warps = map(np.stack, columns)
            planes = _planes(products)
            found.fine[part] = _structure(planes).mul(127).round()
            found.half[part] = _structure(F.avg_pool2d(planes, 2)).mul(127).round()
            found.outline[part] = _outline(planes)
            found.digests[part] = [hashlib.sha256(pixels.tobytes()).digest() for pixels in products]
            edges = _structure(_planes(views.reshape(-1, *views.shape[2:]))).square().sum(1).sqrt()
            coarse = F.avg_pool2d(edges * 255, 2).reshape(len(views), num_views, -1)
            found.coarse[:, part] = coarse.byte().numpy().swapaxes(0, 1)
            found.warps[:, part] = warps.swapaxes(0, 1)
            bar.update(len(views))
    return found


def _look(
    read: Callable[[int], bytes], i: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return a photo's product `(48, 48, 3)`, its views `(V, 24, 24, 3)`, its size and warps."""
    views = (WHOLE, *CROPS)
    shown = np.full((SIDE, SIDE, 3), 255, np.uint8)
    seen = np.full((len(views), 2 * COARSE, 2 * COARSE, 3), 255, np.uint8)
    size, warps = np.zeros(2, np.int64), np.zeros((len(views), 3), np.float32)
    try:
        image = open_image(read(i), 4 * SIDE)
    except (UnreadableImageError, OSError, ValueError):
        return shown, seen, size, warps
    inked = np.asarray(image).min(axis=2) < PAPER
    boxes = [_product_box(inked, view) for view in views]
    whole = boxes[0]
    longest = max(whole[2] - whole[0], whole[3] - whole[1])
    for view, box in enumerate(boxes):
        small = image.resize(seen.shape[1:3], Image.Resampling.BILINEAR, box)
        seen[view] = np.asarray(small)
        shift = (np.add(box[:2], box[2:]) - np.add(whole[:2], whole[2:])) / 2 * INNER / longest
        warps[view] = [max(box[2] - box[0], box[3] - box[1]) / longest, *shift]
    size = np.maximum(1, np.subtract(whole[2:], whole[:2]) * INNER // longest)
    left, top = (SIDE - size) // 2
    shape = (int(size[0]), int(size[1]))
    fitted = image.resize(shape, Image.Resampling.BILINEAR, whole)
    shown[top : top + size[1], left : left + size[0]] = np.asarray(fitted)
    return shown, seen, size, warps


def find_pairs(thumbnails: Thumbnails) -> Pairs:
    """Return the twins among pictures, as far as the index brings them together."""
    readable = np.flatnonzero(thumbnails.sizes[:, 0])
    directions = _directions(thumbnails.coarse[0])
    index = _index(directions[readable])
    found: list[Pairs] = []
    known: set[tuple[int, int]] = set()
    for view, coarse in enumerate(thumbnails.coarse):
        cosines, places = index.search(_directions(coarse[readable]), NEIGHBOURS + 1)
        a, b = np.repeat(readable, NEIGHBOURS + 1), readable[places.ravel()]
        near = (
            (cosines.ravel() > (ALIKE_CROP if view else ALIKE)) & (places.ravel() >= 0) & (a != b)
        )
        a, b = a[near], b[near]
        if view == 0:
            a, b = np.unique(np.sort(np.stack([a, b]), axis=0), axis=1)
        else:  # like products are as alike whole
            gain = cosines.ravel()[near] - (directions[a] * directions[b]).sum(axis=1)
            a, b = a[gain > GAIN], b[gain > GAIN]
        new = [pair not in known for pair in zip(a.tolist(), b.tolist(), strict=True)]
        pairs = compare(thumbnails, a[new], b[new], view)
        twins = Pairs(*(column[pairs.distance <= MAX_DISTANCE] for column in pairs))
        found.append(twins)
        known |= {*zip(twins.a.tolist(), twins.b.tolist(), strict=True)}
        known |= {*zip(twins.b.tolist(), twins.a.tolist(), strict=True)}
    return Pairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


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


def _product_box(inked: np.ndarray, view: Box) -> tuple[int, int, int, int]:
    """Return the box of a view without the white round its product, in pixels."""
    height, width = inked.shape
    left, top, right, bottom = np.rint(np.multiply(view, [width, height] * 2)).astype(int).tolist()
    part = inked[top:bottom, left:right]
    columns = np.flatnonzero(part.mean(axis=0) > INKED)
    rows = np.flatnonzero(part.mean(axis=1) > INKED)
    if min(len(columns), len(rows)) == 0 or min(np.ptp(columns), np.ptp(rows)) < SMALLEST:
        return left, top, right, bottom
    return (
        *(left + int(columns[0]), top + int(rows[0])),
        *(left + int(columns[-1]) + 1, top + int(rows[-1]) + 1),
    )


def _distinct(thumbnails: Thumbnails) -> tuple[np.ndarray, np.ndarray]:
    """Return the first photo of each picture, and of every photo the number of its picture."""
    readable = thumbnails.sizes[:, 0] > 0
    digests = np.where(readable, thumbnails.digests, np.arange(len(readable)).astype("S32"))
    picture, _ = pd.factorize(digests)
    return np.unique(picture, return_index=True)[1], picture


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


def _planes(pixels: np.ndarray) -> Tensor:
    """Return thumbnails `(n, S, S, 3)` uint8 as `(n, 3, S, S)`, white being 0."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().contiguous() - 255


def _structure(planes: Tensor) -> Tensor:
    """Return how each pixel of `(n, 3, S, S)` differs from those around it, shorter than 1."""
    difference = planes - F.avg_pool2d(planes, AROUND, stride=1, padding=AROUND // 2)
    return difference / (difference.square().sum(1, keepdim=True).sqrt() + FAINT)


def _outline(planes: Tensor) -> Tensor:
    """Return what is white, or near it, `(n, S, S)` bool."""
    is_paper = (planes.amin(1) >= PAPER - 255).float()
    return F.max_pool2d(is_paper, 2 * OUTLINE + 1, stride=1, padding=OUTLINE) > 0


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


def _components(
    thumbnails: Thumbnails, pairs: Pairs, max_distance: float = MAX_DISTANCE
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pictures that twins connect, and all distances among them `(m, m)`."""
    near = pairs.distance <= max_distance
    a, b = pairs.a[near], pairs.b[near]
    size = len(thumbnails.fine)
    _, part = connected_components(coo_array((np.ones(len(a)), (a, b)), (size, size)))
    order = np.argsort(part, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(part[order])) + 1)
    for members in parts:
        if len(members) > LARGEST:
            within = np.isin(pairs.a, members) & np.isin(pairs.b, members)
            fewer = Pairs(*(column[within] for column in pairs))
            yield from _components(thumbnails, fewer, max_distance / 2)
        elif len(members) > 1:
            yield members, _matrix(thumbnails, members, pairs)


def _matrix(thumbnails: Thumbnails, members: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return the distances of some pictures, each to each."""
    matrix = np.ones((len(members), len(members)))
    rows, columns = np.triu_indices(len(members), 1)
    whole = compare(thumbnails, members[rows], members[columns], 0)
    matrix[rows, columns] = whole.distance
    within = np.isin(pairs.a, members) & np.isin(pairs.b, members)
    a, b = (np.searchsorted(members, column[within]) for column in pairs[:2])
    np.minimum.at(matrix, (a, b), pairs.distance[within])
    matrix = np.minimum(matrix, matrix.T)
    np.fill_diagonal(matrix, 0)
    return matrix


def _numbered(groups: np.ndarray) -> np.ndarray:
    """Number the groups of two and more from the largest, equals by their first photo."""
    facts = pd.Series(range(len(groups))).groupby(groups).agg(["size", "first"])
    facts = facts[facts["size"] > 1].sort_values(["size", "first"], ascending=[False, True])
    numbers = pd.Series(range(len(facts)), index=facts.index)
    return numbers.reindex(groups).fillna(-1).to_numpy(np.int64)
