"""What is kept of a photo to find its twins: structure, outline and coarse edges of the product.

A product is seen whole, its sides in proportion, and in crops of the photo, each stretched to a
square.
"""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from fashion.catalogue.images import open_image
from fashion.cores import usable_cores

SIDE, INNER = 48, 42  # of a thumbnail, and of the product in it, in pixels
SMALLEST = 8  # pixels of a product's side; of less, the whole photo is taken
PAPER = 235  # a pixel with a channel darker than this belongs to the product,
INKED = 0.02  # where so much of a row or column does: a JPEG blurs into the white around
AROUND, FAINT = 5, 10.0  # pixels, and levels below which a difference counts little
OUTLINE = 2  # pixels from the white around
COARSE = 12  # side of what the index holds
# Left, top, right and bottom of the crops that are looked for, as fractions of the photo.
WHOLE = (0.0, 0.0, 1.0, 1.0)
CROPS = (
    *((0.05, 0.05, 0.95, 0.95), (0.1, 0.1, 0.9, 0.9)),
    *((0.15, 0.0, 1.0, 1.0), (0.0, 0.15, 1.0, 1.0), (0.0, 0.0, 0.85, 1.0), (0.0, 0.0, 1.0, 0.85)),
)
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


class Look(NamedTuple):
    """What one look at a photo sees.

    Attributes:
        product: `(48, 48, 3)` uint8, its sides in proportion, on white; all white if it can't be
            read.
        views: `(V, 24, 24, 3)` uint8, the product in each view, stretched.
        size: `(2,)` int64, as in `Thumbnails.sizes`.
        warps: `(V, 3)` float32, as in `Thumbnails.warps`.
    """

    product: np.ndarray
    views: np.ndarray
    size: np.ndarray
    warps: np.ndarray


def make_thumbnails(read: Callable[[int], bytes], num_photos: int) -> Thumbnails:
    """Look at each photo once.

    Args:
        read: Returns the file of the photo of a number; one that can't be decoded has the size 0.
        num_photos: N.
    """
    num_views = 1 + len(CROPS)
    thumbnails = Thumbnails(
        fine=np.zeros((num_photos, 3, SIDE, SIDE), np.int8),
        half=np.zeros((num_photos, 3, SIDE // 2, SIDE // 2), np.int8),
        outline=np.zeros((num_photos, SIDE, SIDE), bool),
        digests=np.zeros(num_photos, "S32"),
        sizes=np.zeros((num_photos, 2), np.int64),
        coarse=np.zeros((num_views, num_photos, COARSE * COARSE), np.uint8),
        warps=np.zeros((num_views, num_photos, 3), np.float32),
    )
    bar = tqdm(total=num_photos, desc="Looking for twins", unit="photo", disable=None)
    with ThreadPoolExecutor(usable_cores()) as pool, bar:
        for start in range(0, num_photos, CHUNK):
            part = slice(start, min(start + CHUNK, num_photos))
            _fill(thumbnails, part, pool.map(lambda i: _look(read, i), range(num_photos)[part]))
            bar.update(part.stop - part.start)
    return thumbnails


def _fill(thumbnails: Thumbnails, part: slice, looks: Iterable[Look]) -> None:
    """Write down what looks at some photos have seen."""
    products, views, sizes, warps = map(np.stack, zip(*looks, strict=True))
    planes = _planes(products)
    thumbnails.fine[part] = _structure(planes).mul(127).round()
    thumbnails.half[part] = _structure(F.avg_pool2d(planes, 2)).mul(127).round()
    thumbnails.outline[part] = _outline(planes)
    thumbnails.digests[part] = [hashlib.sha256(pixels.tobytes()).digest() for pixels in products]
    thumbnails.sizes[part] = sizes
    edges = _structure(_planes(views.reshape(-1, *views.shape[2:]))).square().sum(1).sqrt()
    coarse = F.avg_pool2d(edges * 255, 2).reshape(*views.shape[:2], -1)
    thumbnails.coarse[:, part] = coarse.byte().numpy().swapaxes(0, 1)
    thumbnails.warps[:, part] = warps.swapaxes(0, 1)


def _look(read: Callable[[int], bytes], i: int) -> Look:
    views = (WHOLE, *CROPS)
    look = Look(
        product=np.full((SIDE, SIDE, 3), 255, np.uint8),
        views=np.full((len(views), 2 * COARSE, 2 * COARSE, 3), 255, np.uint8),
        size=np.zeros(2, np.int64),
        warps=np.zeros((len(views), 3), np.float32),
    )
    try:
        image = open_image(read(i), 4 * SIDE)
    except ValueError:  # no photo; a fault that may pass ends the search
        return look
    inked = np.asarray(image).min(axis=2) < PAPER
    boxes = [_product_box(inked, view) for view in views]
    whole = boxes[0]
    longest = max(whole[2] - whole[0], whole[3] - whole[1])
    for view, box in enumerate(boxes):
        stretched = image.resize(look.views.shape[1:3], Image.Resampling.BILINEAR, box)
        look.views[view] = np.asarray(stretched)
        shift = (np.add(box[:2], box[2:]) - np.add(whole[:2], whole[2:])) / 2 * INNER / longest
        look.warps[view] = [max(box[2] - box[0], box[3] - box[1]) / longest, *shift]
    look.size[:] = np.maximum(1, np.subtract(whole[2:], whole[:2]) * INNER // longest)
    width, height = look.size.tolist()
    left, top = ((SIDE - look.size) // 2).tolist()
    fitted = image.resize((width, height), Image.Resampling.BILINEAR, whole)
    look.product[top : top + height, left : left + width] = np.asarray(fitted)
    return look


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
