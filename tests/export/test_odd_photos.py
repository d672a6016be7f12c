import io

import pytest
from PIL import ExifTags, Image, ImageSequence

from fashion.catalogue.images import UnreadableImageError, decode_image
from fashion.export.odd_photos import drawn_photos, odd_photos


@pytest.fixture(scope="module")
def photos():
    """The odd photos, without the number that each name begins with."""
    return {name.partition("-")[2]: content for name, content in odd_photos().items()}


def opened(content):
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "kind", "mode", "size"),
    [
        ("plain.jpg", "JPEG", "RGB", (60, 80)),
        ("grey.jpg", "JPEG", "L", (60, 80)),
        ("cmyk.jpg", "JPEG", "CMYK", (60, 80)),
        ("16-bit.png", "PNG", "I;16", (60, 80)),
        ("palette.png", "PNG", "P", (60, 80)),
        ("alpha.png", "PNG", "RGBA", (60, 80)),
        ("grey-alpha.png", "PNG", "LA", (60, 80)),
        ("1x1.png", "PNG", "RGB", (1, 1)),
        ("1x4000.png", "PNG", "RGB", (1, 4000)),
        ("3000x4000.jpg", "JPEG", "RGB", (3000, 4000)),
        ("photo.webp", "WEBP", "RGB", (60, 80)),
        ("photo.bmp", "BMP", "RGB", (60, 80)),
        ("photo.tiff", "TIFF", "RGB", (60, 80)),
        ("photo.avif", "AVIF", "RGB", (60, 80)),
    ],
)
def test_each_kind_is_what_it_is_called(name, kind, mode, size, photos):
    photo = opened(photos[name])
    assert (photo.format, photo.mode, photo.size) == (kind, mode, size)


def test_each_orientation_is_there_and_shows_the_product_upright(photos):
    plain = decode_image(photos["exif-1.jpg"], 32, "squash", "bilinear")
    for tag in range(1, 9):
        photo = opened(photos[f"exif-{tag}.jpg"])
        assert photo.getexif()[ExifTags.Base.Orientation] == tag
        assert photo.size == ((60, 80) if tag < 5 else (80, 60))
        upright = decode_image(photos[f"exif-{tag}.jpg"], 32, "squash", "bilinear")
        assert abs(upright.astype(int) - plain).mean() < 4


def test_jpegs_differ_in_what_they_are_coded_with(photos):
    assert opened(photos["progressive.jpg"]).info["progressive"]
    sampling = [opened(photos[f"colour-{kind}.jpg"]).layer[0][1:3] for kind in ("444", "420")]
    assert sampling == [(1, 1), (2, 2)]
    assert opened(photos["profile.jpg"]).info["icc_profile"]
    assert "transparency" in opened(photos["palette-clear.png"]).info
    assert len(list(ImageSequence.Iterator(opened(photos["moving.gif"])))) == 2


def test_all_but_the_truncated_one_are_decoded_and_the_same_each_time(photos):
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode_image(photos["truncated.jpg"], 32, "pad", "bicubic")
    for name in photos.keys() - {"truncated.jpg"}:
        assert decode_image(photos[name], 32, "pad", "bicubic").shape == (32, 32, 3)
    assert [*odd_photos().values()] == [*photos.values()]
    assert sum(map(len, photos.values())) < 500_000


def test_drawn_photos_differ_and_are_the_same_each_time():
    drawn = drawn_photos(30)
    assert len({*drawn}) == 30
    assert drawn_photos(30) == drawn
    assert opened(drawn[0]).size == (60, 80)
