"""Decode one photo of any kind into upright RGB on white and fit it to a square."""

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 89_478_485  # where Pillow begins to warn of a decompression bomb
WHITE = (255, 255, 255)
FITS = ("squash", "pad")
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


class UnreadableImageError(ValueError):
    """A file that is no photo: truncated, empty, of no known format, or of a size that fills memory."""


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
    try:
        image = Image.open(io.BytesIO(content))
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableImageError(f"{image.width} x {image.height} pixels are too many")
        image.draft("RGB", (2 * input_size, 2 * input_size))
        image.load()
        image = _to_rgb(ImageOps.exif_transpose(image))
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        what = "not a photo of a known format" if content else "empty file"
        raise UnreadableImageError(what) from error
    except _DECODER_ERRORS as error:
        raise UnreadableImageError(str(error).strip() or type(error).__name__) from error
    return np.asarray(_fit(image, input_size, fit, interpolation))


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
    square = (input_size, input_size)
    if fit == "pad":
        return ImageOps.pad(image, square, method=resample, color=WHITE)
    return image.resize(square, resample=resample)
