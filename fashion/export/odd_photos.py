"""Photos of all odd kinds that a decoder meets, drawn, so that a bundle may hold them."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

from fashion.catalogue import silhouettes
from fashion.catalogue.images import UPRIGHT
from fashion.catalogue.sample_drawing import draw_photo
from fashion.catalogue.silhouettes import Colours, Pen, Pose

SEED = 1984
SHAPES = (
    *("tshirt", "jeans", "handbag", "watch", "heel", "sunglasses", "dress", "backpack"),
    *("belt", "shirt", "sock", "cap", "saree", "umbrella", "tie", "scarf", "ring", "wallet"),
)
BACK = {Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270}
BACK |= {after: before for before, after in BACK.items()}  # the others undo themselves
PLAIN = Colours((42, 92, 190), (244, 210, 52), (20, 40, 90), (255, 255, 255))


def odd_photos() -> dict[str, bytes]:
    """Return the files by their names, in an order.

    The same Pillow writes the same bytes.
    """
    photos, lying = iter(_drawn(len(_kinds()))), _drawn(1)[0]
    files = {}
    for number, (name, write) in enumerate(_kinds().items(), start=1):
        photo = lying if name.startswith("exif") else next(photos)
        files[f"{number:02}-{name}"] = write(photo)
    return files


def drawn_photos(number: int) -> list[bytes]:
    """Return plain drawn photos, each different, JPEGs of 60x80."""
    return [_jpeg(photo) for photo in _drawn(number)]


def _drawn(number: int) -> list[Image.Image]:
    shapes = [getattr(silhouettes, SHAPES[place % len(SHAPES)]) for place in range(number)]
    return [
        draw_photo(shape, np.random.default_rng([SEED, place]))[0]
        for place, shape in enumerate(shapes)
    ]


def _kinds() -> dict[str, Callable[[Image.Image], bytes]]:
    upright = {1: None, **UPRIGHT}
    return {
        "plain.jpg": _jpeg,
        **{f"exif-{tag}.jpg": _turned(tag, upright[tag]) for tag in upright},
        "progressive.jpg": lambda photo: _jpeg(_large(photo), progressive=True),
        "colour-444.jpg": lambda photo: _jpeg(_large(photo), subsampling=0),
        "colour-420.jpg": lambda photo: _jpeg(_large(photo), subsampling=2),
        "grey.jpg": lambda photo: _jpeg(photo.convert("L")),
        "cmyk.jpg": lambda photo: _jpeg(photo.convert("CMYK")),
        "profile.jpg": lambda photo: _jpeg(photo, icc_profile=_profile()),
        "16-bit.png": lambda photo: _png(_of_16_bits(photo)),
        "palette.png": lambda photo: _png(photo.quantize(64)),
        "palette-clear.png": lambda photo: _png(photo.quantize(64), transparency=0),
        "alpha.png": lambda photo: _png(_faded(photo)),
        "grey-alpha.png": lambda photo: _png(_faded(photo).convert("LA")),
        "1x1.png": lambda photo: _png(photo.resize((1, 1))),
        "1x4000.png": lambda photo: _png(photo.resize((1, 4000))),
        "3000x4000.jpg": lambda _: _jpeg(_huge(), quality=60, optimize=True),
        "photo.webp": lambda photo: _saved(photo, "WEBP", quality=80),
        "moving.gif": _moving,
        "photo.bmp": lambda photo: _saved(photo, "BMP"),
        "photo.tiff": lambda photo: _saved(photo, "TIFF"),
        "photo.avif": lambda photo: _saved(photo, "AVIF", quality=80),
        "truncated.jpg": lambda photo: _jpeg(photo)[:900],
    }


def _saved(photo: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    photo.save(file, kind, **options)
    return file.getvalue()


def _jpeg(photo: Image.Image, **options: Any) -> bytes:
    return _saved(photo, "JPEG", quality=options.pop("quality", 90), **options)


def _png(photo: Image.Image, **options: Any) -> bytes:
    return _saved(photo, "PNG", **options)


def _turned(tag: int, upright: Image.Transpose | None) -> Callable[[Image.Image], bytes]:
    """Return what writes a photo lying as the tag says that it does."""

    def write(photo: Image.Image) -> bytes:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = tag
        lying = photo if upright is None else photo.transpose(BACK.get(upright, upright))
        return _jpeg(lying, exif=exif)

    return write


def _large(photo: Image.Image) -> Image.Image:
    return photo.resize((240, 320), Image.Resampling.BICUBIC)


def _huge() -> Image.Image:
    """Return a photo of a phone's size, without noise, which would make a file of megabytes."""
    pen = Pen(PLAIN, Pose(0, 0.9, (0, 0), flipped=False), np.random.default_rng(SEED))
    silhouettes.handbag(pen)
    return pen.photo().resize((3000, 4000), Image.Resampling.BICUBIC)


def _of_16_bits(photo: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)


def _faded(photo: Image.Image) -> Image.Image:
    """Return a photo that is clear on its left and opaque on its right."""
    clear = photo.convert("RGBA")
    row = np.linspace(0, 255, photo.width).astype(np.uint8)
    clear.putalpha(Image.fromarray(np.tile(row, (photo.height, 1))))
    return clear


def _moving(photo: Image.Image) -> bytes:
    second = photo.transpose(Image.Transpose.ROTATE_180)
    return _saved(photo, "GIF", save_all=True, append_images=[second])


def _profile() -> bytes:
    """Return a colour profile without the time at which it was made."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    content[24:36], content[84:100] = bytes(12), bytes(16)  # date, and a hash of all
    return bytes(content)
