"""Decode one photo of any kind into upright RGB on white and fit it to a square."""

import io
from collections.abc import Callable

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

MAX_PIXELS = 89_478_485  # where Pillow begins to warn of a decompression bomb
WHITE = (255, 255, 255)
FITS = ("squash", "pad")
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(ValueError):
    """A file that is no photo: truncated, empty, of no known format, or too large for memory."""


def decode_image(content: bytes, input_size: int, fit: str, interpolation: str) -> np.ndarray:
    """Return a photo as `(input_size, input_size, 3)` uint8.

    Greyscale, CMYK, palette and 16-bit photos become RGB, transparency becomes white, and the EXIF
    orientation is applied. A big JPEG is decoded at a reduced DCT scale, still at least twice the
    size asked for.

    Args:
        content: The file.
        input_size: Side of the square, in pixels.
        fit: `squash` changes the aspect ratio to fill the square; `pad` keeps it, on white.
        interpolation: `bilinear`, `bicubic` or another name of `PIL.Image.Resampling`.

    Raises:
        UnreadableImageError: The content is no complete photo of at most `MAX_PIXELS` pixels.
    """
    image = open_image(content, 2 * input_size)
    return np.asarray(_fit(image, input_size, fit, interpolation))


def decode_or_say_why(decode: Callable[[], np.ndarray]) -> np.ndarray | str:
    """Return the decoded photo, or in words why it can't be read or decoded."""
    try:
        return decode()
    except (UnreadableImageError, OSError, ValueError) as error:
        return str(error)


def open_image(content: bytes, least_px: int) -> Image.Image:
    """Return a photo as an upright RGB image on white.

    Args:
        content: The file.
        least_px: A big JPEG is decoded at a reduced DCT scale that leaves its sides this long.

    Raises:
        UnreadableImageError: The content is no complete photo of at most `MAX_PIXELS` pixels.
    """
    try:
        file = Image.open(io.BytesIO(content))
        if file.width * file.height > MAX_PIXELS:
            raise UnreadableImageError(f"{file.width} x {file.height} pixels are too many")
        file.draft("RGB", (least_px, least_px))
        file.load()
        return _to_rgb(_upright(file))
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        what = "not a photo of a known format" if content else "empty file"
        raise UnreadableImageError(what) from error
    except Exception as error:  # damaged files draw almost any error from Pillow's decoders
        raise UnreadableImageError(str(error).strip() or type(error).__name__) from error


def _upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose also writes the EXIF data anew, which fails on odd entries.
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit greyscale, which Pillow's own conversion clips
        scaled = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(scaled.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGB", layer.size, WHITE)
        image.paste(layer, mask=layer.getchannel("A"))
    return image.convert("RGB")


def _fit(image: Image.Image, input_size: int, fit: str, interpolation: str) -> Image.Image:
    resample = Image.Resampling[interpolation.upper()]
    if fit == "pad":
        return _padded(image, input_size, resample)
    return image.resize((input_size, input_size), resample=resample)


def _padded(image: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    """Do as `ImageOps.pad`, but leave each side a pixel at least, which Pillow rounds to none."""
    width = max(1, round(min(1, image.width / image.height) * side))
    height = max(1, round(min(1, image.height / image.width) * side))
    square = Image.new("RGB", (side, side), WHITE)
    corner = round((side - width) / 2), round((side - height) / 2)
    square.paste(image.resize((width, height), resample=resample), corner)
    return square
