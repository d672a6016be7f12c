import numpy as np
import pytest
from PIL import Image

from fashion.twins.thumbnails import CROPS, FIELDS, INNER, SIDE, look, thumbnails


def seen(*photos):
    return thumbnails(map(look, photos))


def on_white(width, height, left, top):
    """A grey product of some size, at some place of a photo of 200 x 200 pixels."""
    image = Image.new("RGB", (200, 200), "white")
    image.paste((90, 90, 90), (left, top, left + width, top + height))
    return image


def test_a_products_sides_keep_their_proportion_wherever_it_lies(encoded):
    places = [(60, 120, 10, 30), (60, 120, 100, 70), (30, 60, 4, 4), (100, 50, 60, 60)]
    photos = [encoded(on_white(*place), 100) for place in places]
    width, height = seen(*photos)["sizes"].T
    longest = np.maximum(width, height)
    assert set(longest) == {INNER}
    np.testing.assert_allclose(width / height, [0.5, 0.5, 0.5, 2], rtol=0.1)


def test_a_crop_lies_in_the_whole_where_its_warp_says(encoded):
    (warps,) = seen(encoded(on_white(200, 200, 0, 0)))["warps"]
    assert warps[0].tolist() == [1, 0, 0]
    for (left, top, right, bottom), (scale, across, down) in zip(CROPS, warps[1:], strict=True):
        assert scale == pytest.approx(max(right - left, bottom - top))
        np.testing.assert_allclose(across, ((left + right) / 2 - 0.5) * INNER, atol=1e-4)
        np.testing.assert_allclose(down, ((top + bottom) / 2 - 0.5) * INNER, atol=1e-4)


def test_the_paper_round_a_product_is_outline(encoded):
    (outline,) = seen(encoded(on_white(100, 100, 50, 50), 100))["outline"]
    assert outline[:3].all()
    assert not outline[SIDE // 2 - 10 : SIDE // 2 + 10, SIDE // 2 - 10 : SIDE // 2 + 10].any()


def test_a_photo_is_seen_among_others_as_it_is_alone(product, encoded):
    photos = [encoded(product(1)), b"no photo", encoded(product(2)), b""]
    together = seen(*photos)
    assert (together["sizes"] > 0).all(axis=1).tolist() == [True, False, True, False]
    for place, photo in enumerate(photos):
        for name, (alone,) in seen(photo).items():
            np.testing.assert_array_equal(together[name][place], alone)


def test_what_is_seen_is_of_the_shapes_and_kinds_that_are_kept(product, encoded):
    arrays = seen(encoded(product(1)), encoded(product(2)))
    assert [(name, each.shape[1:], each.dtype) for name, each in arrays.items()] == [
        (field.name, field.shape, np.dtype(field.dtype)) for field in FIELDS
    ]
