"""What is kept of a photo to find its twins: structure, outline and coarse edges of the product.

A product is seen whole, its sides in proportion, and in crops of the photo, each stretched to a
square.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fashion.catalogue.images import open_image
from fashion.shards import Field

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
VIEWS = 1 + len(CROPS)
# What is kept of a photo:
# fine: structure of the product in 127ths, its sides in proportion, centred;
# half: that of the product at half the size;
# outline: what is white or near it;
# digests: tell whether two products are the same to the pixel;
# sizes: width and height of the product in `fine`; 0 if the photo can't be read;
# coarse: edges of the product in each view, stretched to 12 x 12;
# warps: scale and shift (x, y), in pixels from the middle of a thumbnail, that take a place in a
# view's own thumbnail to the place in `fine`.
FIELDS = (
    Field("fine", (3, SIDE, SIDE), "int8"),
    Field("half", (3, SIDE // 2, SIDE // 2), "int8"),
    Field("outline", (SIDE, SIDE), "bool"),
    Field("digests", (2,), "uint64"),
    Field("sizes", (2,), "uint8"),
    Field("coarse", (VIEWS, COARSE * COARSE), "uint8"),
    Field("warps", (VIEWS, 3), "float32"),
)


class Look(NamedTuple):
    """What one look at a photo sees.

    Attributes:
        product: `(48, 48, 3)` uint8, its sides in proportion, on white; all white if it can't be
            read.
        views: `(V, 24, 24, 3)` uint8, the product in each view, stretched.
        size: `(2,)` uint8, as in `FIELDS`.
        warps: `(V, 3)` float32, as in `FIELDS`.
    """

    product: np.ndarray
    views: np.ndarray
    size: np.ndarray
    warps: np.ndarray


def look(content: bytes) -> Look:
    """Look at a photo.

    Args:
        content: The file; of one that can't be decoded the size is 0.
    """
    seen = Look(
        product=np.full((SIDE, SIDE, 3), 255, np.uint8),
        views=np.full((VIEWS, 2 * COARSE, 2 * COARSE, 3), 255, np.uint8),
        size=np.zeros(2, np.uint8),
        warps=np.zeros((VIEWS, 3), np.float32),
    )
    try:
        image = open_image(content, 4 * SIDE)
    except ValueError:
        return seen
    boxes = _product_boxes(np.asarray(image))
    whole = boxes[0]
    longest = max(whole[2] - whole[0], whole[3] - whole[1])
    for view, box in enumerate(boxes):
        stretched = image.resize(seen.views.shape[1:3], Image.Resampling.BILINEAR, box)
        seen.views[view] = np.asarray(stretched)
        shift = (np.add(box[:2], box[2:]) - np.add(whole[:2], whole[2:])) / 2 * INNER / longest
        seen.warps[view] = [max(box[2] - box[0], box[3] - box[1]) / longest, *shift]
    width, height = (
        max(1, (end - start) * INNER // longest)
        for start, end in zip(whole[:2], whole[2:], strict=True)
    )
    seen.size[:] = width, height
    left, top = (SIDE - width) // 2, (SIDE - height) // 2
    fitted = image.resize((width, height), Image.Resampling.BILINEAR, whole)
    seen.product[top : top + height, left : left + width] = np.asarray(fitted)
    return seen


def thumbnails(looks: Iterable[Look]) -> dict[str, np.ndarray]:
    """Return what is kept of `n` photos from looks at them, by the names of `FIELDS`."""
    products, views, sizes, warps = map(np.stack, zip(*looks, strict=True))
    planes = _planes(products)
    digests = b"".join(hashlib.sha256(pixels.tobytes()).digest()[:16] for pixels in products)
    edges = _structure(_planes(views.reshape(-1, *views.shape[2:]))).square().sum(1).sqrt()
    coarse = F.avg_pool2d(edges * 255, 2).reshape(*views.shape[:2], -1)
    return {
        "fine": _structure(planes).mul(127).round().numpy().astype(np.int8),
        "half": _structure(F.avg_pool2d(planes, 2)).mul(127).round().numpy().astype(np.int8),
        "outline": _outline(planes).numpy(),
        "digests": np.frombuffer(digests, np.uint64).reshape(-1, 2),
        "sizes": sizes,
        "coarse": coarse.byte().numpy(),
        "warps": warps,
    }


def _product_boxes(pixels: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Return the box of each view without the white round its product, in pixels."""
    inked = np.minimum(np.minimum(pixels[..., 0], pixels[..., 1]), pixels[..., 2]) < PAPER
    height, width = inked.shape
    above = np.zeros((height + 1, width), np.int32)  # inked pixels above each edge,
    before = np.zeros((height, width + 1), np.int32)  # and to the left of it
    np.cumsum(inked, axis=0, out=above[1:])
    np.cumsum(inked, axis=1, out=before[:, 1:])
    views = np.rint(np.multiply((WHOLE, *CROPS), [width, height] * 2)).astype(int)
    boxes = []
    for left, top, right, bottom in views.tolist():
        in_column = above[bottom, left:right] - above[top, left:right]
        in_row = before[top:bottom, right] - before[top:bottom, left]
        columns = np.flatnonzero(in_column / (bottom - top) > INKED).tolist() or [0]
        rows = np.flatnonzero(in_row / (right - left) > INKED).tolist() or [0]
        if min(columns[-1] - columns[0], rows[-1] - rows[0]) >= SMALLEST:
            left, right = left + columns[0], left + columns[-1] + 1
            top, bottom = top + rows[0], top + rows[-1] + 1
        boxes.append((left, top, right, bottom))
    return boxes


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
