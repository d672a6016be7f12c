import io
import random
import struct
import warnings
import zlib
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from fashion.catalogue.images import (
    MAX_PIXELS,
    SCAN,
    UnreadableImageError,
    decode_image,
    decode_or_say_why,
    photo_facts,
)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encode(image, format_="PNG", **options):
    content = io.BytesIO()
    image.save(content, format_, **options)
    return content.getvalue()


def decode(content, input_size=32, fit="squash", interpolation="bilinear"):
    photo = decode_image(content, input_size, fit, interpolation)
    assert photo.shape == (input_size, input_size, 3)
    assert photo.dtype == np.uint8
    return photo


def noise(width=60, height=80):
    """Smooth noise, which JPEG keeps."""
    coarse = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def quarters():
    """Red and green above, blue and white below, 64 x 64."""
    pixels = np.full((64, 64, 3), 255, np.uint8)
    pixels[:32, :32], pixels[:32, 32:], pixels[32:, :32] = RED, GREEN, BLUE
    return Image.fromarray(pixels)


def corners(photo):
    return [tuple(int(v) for v in photo[y, x]) for y in (4, -5) for x in (4, -5)]


def transparent_quarters(mode):
    """Quarters whose left half can't be seen through and whose right half can."""
    alpha = Image.new("L", (64, 64), 255)
    alpha.paste(0, (32, 0, 64, 64))
    image = quarters()
    image.putalpha(alpha)
    return image.convert(mode)


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_a_greyscale_photo_becomes_rgb(fit):
    photo = decode(encode(Image.new("L", (60, 80), 77), "JPEG"), fit=fit)
    assert (photo[16, 16] == 77).all()


def test_an_opaque_photo_keeps_its_pixels():
    photo = decode(encode(quarters()), 64)
    np.testing.assert_array_equal(photo, np.asarray(quarters()))


def test_transparent_rgba_becomes_white():
    photo = decode(encode(transparent_quarters("RGBA")))
    assert corners(photo) == [RED, WHITE, BLUE, WHITE]


def test_half_transparent_pixels_are_mixed_with_white():
    photo = decode(encode(Image.new("RGBA", (8, 8), (0, 0, 0, 128))))
    assert abs(int(photo[16, 16, 0]) - 127) <= 1


def test_transparent_la_becomes_white():
    photo = decode(encode(transparent_quarters("RGBA").convert("LA")))
    assert corners(photo) == [(76, 76, 76), WHITE, (29, 29, 29), WHITE]


def test_an_l_photos_transparent_grey_becomes_white():
    image = Image.new("L", (64, 64), 10)
    image.paste(200, (32, 0, 64, 64))
    grey, other = (10,) * 3, (200,) * 3
    assert corners(decode(encode(image))) == [grey, other, grey, other]
    photo = decode(encode(image, transparency=10))
    assert corners(photo) == [WHITE, other, WHITE, other]


def test_a_palette_photo_becomes_rgb():
    content = encode(quarters().quantize(4))
    assert Image.open(io.BytesIO(content)).mode == "P"
    assert corners(decode(content)) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("format_", ["PNG", "GIF"])
def test_a_palettes_transparent_colour_becomes_white(format_):
    image = quarters().quantize(4)
    content = encode(image, format_, transparency=image.getpixel((0, 0)))
    assert Image.open(io.BytesIO(content)).mode == "P"
    assert corners(decode(content)) == [WHITE, GREEN, BLUE, WHITE]


def test_cmyk_becomes_rgb():
    content = encode(quarters().convert("CMYK"), "JPEG", quality=100, subsampling=0)
    assert Image.open(io.BytesIO(content)).mode == "CMYK"
    photo = decode(content)
    assert np.abs(np.subtract(corners(photo), [RED, GREEN, BLUE, WHITE])).max() < 10


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(format_):
    ramp = np.linspace(0, 65_535, 64).astype(np.uint16)
    photo = decode(encode(Image.fromarray(np.tile(ramp, (64, 1))), format_), 64)
    assert Image.open(io.BytesIO(encode(Image.fromarray(np.tile(ramp, (2, 1)))))).mode == "I;16"
    np.testing.assert_array_equal(photo[5, :, 1], ramp >> 8)


def test_sixteen_bit_colour_is_scaled_not_clipped():
    raw = b"".join(b"\0" + struct.pack(">3H", 0x8000, 0xFFFF, 0x1234) * 8 for _ in range(8))
    content = png(8, 8, raw, bits=16)
    assert tuple(decode(content)[3, 3]) == (0x80, 0xFF, 0x12)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_every_exif_orientation_comes_out_upright(orientation, format_):
    turned_by = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    image = quarters()
    if orientation != 1:
        image = image.transpose(turned_by[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = decode(encode(image, format_, exif=exif, quality=95))
    assert np.abs(np.subtract(corners(photo), [RED, GREEN, BLUE, WHITE])).max() < 30


def test_a_turned_portrait_is_padded_as_a_portrait():
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = decode(encode(Image.new("RGB", (80, 40)), exif=exif), fit="pad")
    assert (photo[:, 15:17] == 0).all()
    assert (photo[:, :7] == 255).all()


def test_odd_exif_data_does_not_cost_the_photo():
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    entries += struct.pack("<HHI4s", 0x011A, 2, 1, b"\0")  # XResolution as text
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    turned = quarters().transpose(Image.Transpose.ROTATE_90)
    photo = decode(encode(turned, "JPEG", quality=95, exif=exif))
    assert np.abs(np.subtract(corners(photo), [RED, GREEN, BLUE, WHITE])).max() < 30


def test_pad_keeps_the_aspect_on_white():
    photo = decode(encode(Image.new("RGB", (60, 80))), 40, "pad")
    assert (photo[:, 5:35] == 0).all()
    assert (photo[:, :5] == 255).all()
    assert (photo[:, 35:] == 255).all()
    photo = decode(encode(Image.new("RGB", (80, 60))), 40, "pad")
    assert (photo[5:35] == 0).all()
    assert (photo[:5] == 255).all()
    assert (photo[35:] == 255).all()


def test_squash_fills_the_square():
    assert (decode(encode(Image.new("RGB", (60, 80))), 40, "squash") == 0).all()


@pytest.mark.parametrize("fit", ["squash", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5_000), (5_000, 1)])
def test_a_photo_one_pixel_wide_still_gives_a_square(fit, size):
    decode(encode(Image.new("RGB", size)), 32, fit)


def test_the_interpolation_is_the_one_asked_for():
    image = noise()
    for name in ("nearest", "bilinear", "bicubic"):
        expected = image.resize((40, 40), Image.Resampling[name.upper()])
        photo = decode(encode(image), 40, interpolation=name)
        np.testing.assert_array_equal(photo, np.asarray(expected))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"This is no photo.", "not a photo of a known format"),
        (b"<html>404</html>", "not a photo of a known format"),
        (encode(noise(), "JPEG")[:-200], "truncated"),
        (encode(noise(), "JPEG", progressive=True)[:-200], "truncated"),
        (encode(noise())[:-200], "truncated"),
        (encode(noise(), "GIF")[:-200], "truncated"),
        (encode(noise(), "JPEG")[:30], "."),
    ],
)
def test_what_is_no_photo_is_unreadable_with_a_reason(content, reason):
    with pytest.raises(UnreadableImageError, match=f"(?i){reason}"):
        decode(content)


@pytest.mark.parametrize("width", [10_000, 15_000, 60_000])
def test_a_decompression_bomb_is_refused_from_its_header(width):
    height = MAX_PIXELS // width + 1
    content = png(width, height, b"")
    with pytest.raises(UnreadableImageError, match="pixels"):
        decode(content)


def test_the_largest_photo_allowed_is_not_refused_for_its_size():
    content = png(10_000, MAX_PIXELS // 10_000, b"")
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode(content)


def test_a_bomb_is_refused_where_warnings_are_not_errors_too():
    content = png(10_000, 10_000, b"")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(UnreadableImageError, match="10000 x 10000 pixels are too many"):
            decode(content)


def test_damaged_photos_are_decoded_or_unreadable_and_nothing_else():
    rng = random.Random(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x0131] = 6, "some camera" * 3
    whole = [
        encode(noise(30, 40), format_, **options)
        for format_, options in (
            ("JPEG", {"exif": exif}),
            ("JPEG", {"progressive": True}),
            ("PNG", {"exif": exif}),
            ("GIF", {}),
            ("WEBP", {"exif": exif}),
            ("BMP", {}),
            ("TIFF", {"compression": "raw"}),
            ("DDS", {}),
        )
    ]
    outcomes = {"decoded": 0, "unreadable": 0}
    for content in whole * 150:
        damaged = bytearray(content)
        reach = min(len(damaged), rng.choice([32, 128, 600, len(damaged)]))
        for _ in range(rng.choice([1, 2, 5, 20])):
            damaged[rng.randrange(reach)] = rng.choice([0, 255, rng.randrange(256)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                decode(bytes(damaged), fit=rng.choice(["squash", "pad"]))
            except UnreadableImageError:
                outcomes["unreadable"] += 1
            else:
                outcomes["decoded"] += 1
    assert min(outcomes.values()) > 100


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_a_big_jpeg_is_decoded_at_a_reduced_scale_with_equal_pixels(fit, monkeypatch):
    decoded = []
    load = ImageFile.ImageFile.load

    def record(self):
        pixels = load(self)
        decoded.append(self.size)
        return pixels

    monkeypatch.setattr(ImageFile.ImageFile, "load", record)
    image = noise(1800, 2400)
    reduced = decode(encode(image, "JPEG", quality=90), 224, fit).astype(int)
    assert decoded[0] == (450, 600)
    full = decode(encode(image), 224, fit)
    assert decoded[-1] == (1800, 2400)
    difference = np.abs(reduced - full)
    assert difference.max() <= 12
    assert difference.mean() < 1


@pytest.mark.parametrize(("size", "scale"), [((447, 900), 1), ((448, 448), 1), ((896, 1000), 2)])
def test_the_reduced_scale_is_at_least_twice_the_input_size(size, scale, monkeypatch):
    seen = []
    draft = ImageFile.ImageFile.load
    monkeypatch.setattr(
        ImageFile.ImageFile, "load", lambda self: (seen.append(self.size), draft(self))[1]
    )
    decode(encode(noise(*size), "JPEG"), 224)
    assert seen[0] == (size[0] // scale, size[1] // scale)


def png(width, height, raw, bits=8):
    """An RGB PNG of any size its header may claim; `raw` are its scanlines."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">2I5B", width, height, bits, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("size", [(200, 1), (1, 200), (4_000, 3)])
def test_a_photo_that_is_all_length_is_not_lost_in_its_padding(size):
    black = encode(Image.new("RGB", size), "PNG")
    photo = decode_image(black, 16, "pad", "bilinear")
    assert ((photo == 0).all(2).sum(), (photo == 255).all(2).sum()) == (16, 240)


def test_a_phones_photo_of_200_megapixels_is_read_at_a_reduced_scale():
    content = encode(Image.new("L", (16_384, 12_288), 200), "JPEG", quality=20)
    assert np.abs(decode(content).astype(int) - 200).max() < 4
    assert photo_facts(content) == (16_384, 12_288, "L")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size": (17_000, 16_000)}, "17000 x 16000 pixels are too many"),
        ({"size": (10_000, 9_000), "progressive": True}, "10000 x 9000 pixels are too many"),
    ],
)
def test_a_jpeg_of_too_many_pixels_is_refused(changes, reason):
    size = changes.pop("size")
    content = encode(Image.new("L", size), "JPEG", quality=5, **changes)
    with pytest.raises(UnreadableImageError, match=reason):
        decode(content)


def test_a_jpeg_of_endless_scans_is_refused():
    content = encode(noise(), "JPEG", progressive=True)
    scan = content[content.rindex(SCAN) : -2]
    assert decode(content).shape == (32, 32, 3)
    with pytest.raises(UnreadableImageError, match=r"a JPEG of \d+ scans"):
        decode(content[:-2] + scan * 200 + content[-2:])


def test_a_png_with_megabytes_of_notes_is_read():
    info = PngInfo()
    info.add_text("XML:com.adobe.xmp", "x" * 2_000_000, zip=True)
    assert corners(decode(encode(quarters(), pnginfo=info)))[0] == RED


@pytest.mark.parametrize("format_", ["JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_formats_that_people_use_are_read_whatever_their_name(format_):
    photo = decode(encode(Image.new("RGB", (64, 64), RED), format_))
    assert np.abs(photo.astype(int) - RED).max() < 12


@pytest.mark.parametrize("format_", ["EPS", "PPM", "ICNS", "PCX", "PDF", "SGI"])
def test_no_other_decoder_of_pillow_is_tried(format_):
    with pytest.raises(UnreadableImageError, match="not a photo of a known format"):
        decode(encode(Image.new("RGB", (128, 128), RED), format_))


@pytest.mark.skipif(find_spec("pillow_heif") is not None, reason="pillow-heif reads it")
def test_a_heic_photo_says_what_to_install():
    with pytest.raises(UnreadableImageError, match="pip install pillow-heif, or convert it"):
        decode(b"\0\0\0\x18ftypheic" + bytes(100))


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\n", b"\r\n"])
def test_marks_before_a_jpeg_are_passed_over(before):
    assert corners(decode(before + encode(quarters(), "JPEG", quality=95, subsampling=0)))


def test_fractions_of_white_and_twelve_bits_are_scaled():
    half = np.full((8, 8), 0.5, np.float32)
    assert (decode(encode(Image.fromarray(half), "TIFF")) == 127).all()
    assert (decode(encode(Image.fromarray(half * 200), "TIFF")) == 100).all()
    twelve = np.full((8, 8), 2_048, np.uint16)
    assert (decode(encode(Image.fromarray(twelve), "PNG")) == 128).all()


def test_a_fault_that_may_pass_is_no_verdict_on_a_photo():
    def fails(error):
        raise error

    assert decode_or_say_why(lambda: fails(UnreadableImageError("torn"))) == "torn"
    for error in (PermissionError("no"), TimeoutError("late")):
        with pytest.raises(type(error)):
            decode_or_say_why(lambda error=error: fails(error))
