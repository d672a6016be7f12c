"""Graded changes of photos, by the causes that the study suspects for its errors.

Blur and the loss of detail stand for image quality and resolution, brightness for lighting, and a
coloured ground for the background.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from scipy import ndimage

NEAR_WHITE = 240  # of the darkest channel: JPEG's noise takes white down to about here
NO_NOISE = 225  # a darker channel is the product's
MIN_WHITE_BORDER = 0.5  # of the border's pixels, for a photo to stand on white ground
EDGE_SHARE = 0.035  # of the side: two pixels of the published photos, over which an edge fades


class Corruption(NamedTuple):
    """One grade of one change.

    Attributes:
        name: Of the change.
        level: The grade, for people.
        apply: Returns the changed copy of a photo `(H, W, 3)` uint8, of the same shape and type and
            always the same; it can be pickled.
    """

    name: str
    level: str
    apply: Callable[[np.ndarray], np.ndarray]


def blur(photo: np.ndarray, share: float) -> np.ndarray:
    """Return a photo out of focus: Gaussian, with a sigma of this share of the shorter side."""
    sigma = share * min(photo.shape[:2])
    return np.array(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(sigma)))


def downscale(photo: np.ndarray, side: int) -> np.ndarray:
    """Return a photo as if it had been `side` pixels wide and high, and enlarged since.

    A number of pixels and no share of the input's, which may be many times larger than the file.
    """
    height, width = photo.shape[:2]
    small = (min(side, width), min(side, height))
    image = Image.fromarray(photo).resize(small, Image.Resampling.BOX)
    return np.array(image.resize((width, height), Image.Resampling.BICUBIC))


def relight(photo: np.ndarray, factor: float) -> np.ndarray:
    """Return a photo with every value multiplied; what gets brighter than white is white."""
    return np.array(ImageEnhance.Brightness(Image.fromarray(photo)).enhance(factor))


def recolour_ground(photo: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Return a photo whose white ground has another colour.

    The ground is what is nearly white and connected to the border. Where an edge fades into it, a
    pixel is taken as a mixture of white and the product behind the edge, and white's part of it
    changes. A photo without a white ground stays as it is. White parts of a product that no outline
    parts from the ground belong to it.
    """
    ground = _white_ground(photo)
    if ground is None:
        return photo.copy()
    white = _share_of_white(photo, ground)[:, :, None]
    values = np.where(ground[:, :, None], 255.0, photo) - white * (255 - np.array(colour))
    changed: np.ndarray = values.round().clip(0, 255).astype(np.uint8)
    return changed


def _white_ground(photo: np.ndarray) -> np.ndarray | None:
    """Return where the ground is, `(H, W)` bool, or None where it isn't white."""
    darkest = photo.min(axis=2)
    is_white = darkest >= NEAR_WHITE
    border = np.ones_like(is_white)
    border[1:-1, 1:-1] = False
    if is_white[border].mean() < MIN_WHITE_BORDER:
        return None
    ground = ndimage.binary_propagation(is_white & border, mask=is_white)
    # Specks that are nowhere dark are noise of the ground.
    return ~ndimage.binary_propagation(darkest < NO_NOISE, mask=~ground)


def _share_of_white(photo: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Return how much of each pixel is ground, `(H, W)` in [0, 1]: all, none, or part at edges."""
    reach = math.ceil(EDGE_SHARE * min(photo.shape[:2]))
    depth = ndimage.distance_transform_edt(~ground)
    # What is thinner than two edges is itself in its middle alone.
    is_product = depth >= np.minimum(reach, ndimage.maximum_filter(depth, 2 * reach + 1))
    is_product &= ~ground
    if not is_product.any():
        return ground.astype(float)
    gap = (255.0 - photo).sum(axis=2)  # to white
    rows, columns = ndimage.distance_transform_edt(
        ~is_product, return_distances=False, return_indices=True
    )
    mixed = (1 - gap / gap[rows, columns].clip(1)).clip(0, 1)
    mixed[ground], mixed[is_product] = 1, 0
    smooth = ndimage.gaussian_filter(mixed, reach / 4)
    return np.where(ground | is_product, mixed, smooth)


CORRUPTIONS: tuple[Corruption, ...] = (
    Corruption("blur", "sigma 1 % of the side", partial(blur, share=0.01)),
    Corruption("blur", "sigma 2 % of the side", partial(blur, share=0.02)),
    Corruption("blur", "sigma 3 % of the side", partial(blur, share=0.03)),
    Corruption("downscaling", "to 32 x 32 pixels", partial(downscale, side=32)),
    Corruption("downscaling", "to 20 x 20 pixels", partial(downscale, side=20)),
    Corruption("downscaling", "to 12 x 12 pixels", partial(downscale, side=12)),
    Corruption("darker", "brightness x 0.7", partial(relight, factor=0.7)),
    Corruption("darker", "brightness x 0.5", partial(relight, factor=0.5)),
    Corruption("darker", "brightness x 0.3", partial(relight, factor=0.3)),
    Corruption("brighter", "brightness x 1.1", partial(relight, factor=1.1)),
    Corruption("brighter", "brightness x 1.25", partial(relight, factor=1.25)),
    Corruption("brighter", "brightness x 1.5", partial(relight, factor=1.5)),
    Corruption("background", "light grey", partial(recolour_ground, colour=(205, 205, 205))),
    Corruption("background", "mid grey", partial(recolour_ground, colour=(128, 128, 128))),
    Corruption("background", "saturated green", partial(recolour_ground, colour=(0, 120, 90))),
)
