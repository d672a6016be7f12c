"""Decode one photo of any kind into upright RGB on white and fit it to a square."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

# What is tried on a file, whatever its ending: Pillow's other decoders are older, rarer, or, as
# that of EPS, run programs.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "HEIF")
HEIF = re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL)
MAX_PIXELS = 89_478_485  # where Pillow begins to warn of a decompression bomb: 256 MiB of RGB
# A JPEG of one scan is decoded in strips at an eighth of its size; phones take 200 megapixels.
MAX_JPEG_PIXELS = 2**28
MAX_SCANS = 100  # of a progressive JPEG, each of which goes over all of it; usual are ten
SCAN = b"\xff\xda"
MAX_TEXT_BYTES = 2**26  # of a PNG's notes, unpacked
MARKS = b"\xef\xbb\xbf\r\n\t "  # that some programs write before a file
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


# This module measures for itself, after reduced decoding.
Image.MAX_IMAGE_PIXELS = None
_formats_there: list[str] = []
PngImagePlugin.MAX_TEXT_CHUNK = MAX_TEXT_BYTES
PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES


class PhotoFacts(NamedTuple):
    """What a photo's file holds: width and height in pixels, and Pillow's mode."""

    width: int
    height: int
    mode: str


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
    return decode_measured(content, input_size, fit, interpolation)[0]


def decode_measured(
    content: bytes, input_size: int, fit: str, interpolation: str
) -> tuple[np.ndarray, PhotoFacts]:
    """Return what `decode_image` does, and what the photo's file holds.

    Raises:
        UnreadableImageError: As `decode_image`.
    """
    image, facts = _decode(content, 2 * input_size)
    return np.asarray(_fit(image, input_size, fit, interpolation)), facts


def decode_or_say_why(decode: Callable[[], np.ndarray]) -> np.ndarray | str:
    """Return the decoded photo, or in words what is wrong with its file.

    Raises:
        OSError: It can't be read now, which says nothing of the file.
    """
    try:
        return decode()
    except ValueError as error:
        return str(error)


def open_image(content: bytes, least_px: int) -> Image.Image:
    """Return a photo as an upright RGB image on white.

    Args:
        content: The file.
        least_px: A big JPEG is decoded at a reduced DCT scale that leaves its sides this long.

    Raises:
        UnreadableImageError: The content is no complete photo of at most `MAX_PIXELS` pixels.
    """
    return _decode(content, least_px)[0]


def photo_facts(content: bytes) -> PhotoFacts:
    """Return what a photo's file holds, once it has been decoded.

    Raises:
        UnreadableImageError: As `open_image`.
    """
    return _decode(content, 1)[1]


def header_facts(content: bytes) -> PhotoFacts:
    """Return what the header of a photo's file says; nothing of it is decoded.

    Raises:
        UnreadableImageError: It is no photo of a known format.
    """
    content = _stripped(content)
    with _told_as_unreadable(content):
        return _facts(_opened(content))


def _decode(content: bytes, least_px: int) -> tuple[Image.Image, PhotoFacts]:
    content = _stripped(content)
    with _told_as_unreadable(content):
        file = _opened(content)
        facts = _facts(file)
        _check_effort(file, content)
        file.draft("RGB", (least_px, least_px))
        if file.width * file.height > MAX_PIXELS:
            raise UnreadableImageError(f"{facts.width} x {facts.height} pixels are too many")
        file.load()
        return _to_rgb(_upright(file)), facts


@contextmanager
def _told_as_unreadable(content: bytes) -> Iterator[None]:
    try:
        yield
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError(_what_it_is(content)) from error
    except Exception as error:  # damaged files draw almost any error from Pillow's decoders
        raise UnreadableImageError(str(error).strip() or type(error).__name__) from error


def _stripped(content: bytes) -> bytes:
    return content.lstrip(MARKS) if content[:1] in (b"\xef", b"\r", b"\n") else content


def _opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=_formats())


def _facts(file: Image.Image) -> PhotoFacts:
    return PhotoFacts(file.width, file.height, file.mode)


def _check_effort(file: Image.Image, content: bytes) -> None:
    """Refuse a JPEG that takes far more work or memory than its pixels at a reduced scale."""
    if file.format not in ("JPEG", "MPO"):
        return
    most = MAX_PIXELS if file.info.get("progressive") else MAX_JPEG_PIXELS
    if file.width * file.height > most:
        raise UnreadableImageError(f"{file.width} x {file.height} pixels are too many")
    if file.info.get("progressive") and (scans := content.count(SCAN)) > MAX_SCANS:
        raise UnreadableImageError(f"a JPEG of {scans} scans, where {MAX_SCANS} are plenty")


def _what_it_is(content: bytes) -> str:
    if not content:
        return "empty file"
    if HEIF.match(content):
        return "a HEIC photo: pip install pillow-heif, or convert it to JPEG"
    return "not a photo of a known format"


def _formats() -> list[str]:
    """Return those of `FORMATS` that this Pillow decodes, HEIC by pillow-heif where that is."""
    if not _formats_there:
        if find_spec("pillow_heif"):
            from pillow_heif import register_heif_opener

            register_heif_opener()
        Image.init()
        _formats_there.extend(name for name in FORMATS if name in Image.OPEN)
    return list(_formats_there)


def _upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose also writes the EXIF data anew, which fails on odd entries.
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):  # which Pillow's own conversion clips
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGB", layer.size, WHITE)
        image.paste(layer, mask=layer.getchannel("A"))
    return image.convert("RGB")


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    """Return greys of more bits, or fractions of white, as `(H, W)` uint8."""
    if grey.dtype.kind == "f":
        grey = np.nan_to_num(grey)
        scaled = grey * 255 if grey.max(initial=0) <= 1 else grey
    else:  # cameras and scanners also write 12 bits into 16
        scaled = grey.astype(np.int64) >> (4 if 255 < grey.max(initial=0) < 4096 else 8)
    return scaled.clip(0, 255).astype(np.uint8)


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
