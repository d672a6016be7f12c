import numpy as np
import pytest
from PIL import Image

from fashion.twins import thumbnails as module
from fashion.twins.thumbnails import CROPS, INNER, SIDE, make_thumbnails


def thumbnails_of(*photos):
    return make_thumbnails(photos.__getitem__, len(photos))


def on_white(width, height, left, top):
    """A grey product of some size, at some place of a photo of 200 x 200 pixels."""
    image = Image.new("RGB", (200, 200), "white")
    image.paste((90, 90, 90), (left, top, left + width, top + height))
    return image


def test_a_products_sides_keep_their_proportion_wherever_it_lies(encoded):
    places = [(60, 120, 10, 30), (60, 120, 100, 70), (30, 60, 4, 4), (100, 50, 60, 60)]
    photos = [encoded(on_white(*place), 100) for place in places]
    width, height = thumbnails_of(*photos).sizes.T
    longest = np.maximum(width, height)
    assert set(longest) == {INNER}
    np.testing.assert_allclose(width / height, [0.5, 0.5, 0.5, 2], rtol=0.1)


def test_a_crop_lies_in_the_whole_where_its_warp_says(encoded):
    (warps,) = thumbnails_of(encoded(on_white(200, 200, 0, 0))).warps.swapaxes(0, 1)
    assert warps[0].tolist() == [1, 0, 0]
    for (left, top, right, bottom), (scale, across, down) in zip(CROPS, warps[1:], strict=True):
        assert scale == pytest.approx(max(right - left, bottom - top))
        np.testing.assert_allclose(across, ((left + right) / 2 - 0.5) * INNER, atol=1e-4)
        np.testing.assert_allclose(down, ((top + bottom) / 2 - 0.5) * INNER, atol=1e-4)


def test_the_paper_round_a_product_is_outline(encoded):
    (outline,) = thumbnails_of(encoded(on_white(100, 100, 50, 50), 100)).outline
    assert outline[:3].all()
    assert not outline[SIDE // 2 - 10 : SIDE // 2 + 10, SIDE // 2 - 10 : SIDE // 2 + 10].any()


def test_photos_that_cant_be_read_have_no_size_and_the_others_keep_their_places(product, encoded):
    def read(i):
        if i == 1:
            raise ValueError("gone")
        return (encoded(product(1)), None, b"no photo", encoded(product(2)))[i]

    thumbnails = make_thumbnails(read, 4)
    assert (thumbnails.sizes > 0).all(axis=1).tolist() == [True, False, False, True]
    alone = thumbnails_of(encoded(product(2)))
    for kept, same in zip(thumbnails.of(np.array([3])), alone, strict=True):
        np.testing.assert_array_equal(kept, same)


def test_photos_are_looked_at_in_parts_as_they_are_at_once(product, encoded, monkeypatch):
    photos = [encoded(product(seed)) for seed in range(5)]
    at_once = thumbnails_of(*photos)
    monkeypatch.setattr(module, "CHUNK", 2)
    for part, whole in zip(thumbnails_of(*photos), at_once, strict=True):
        np.testing.assert_array_equal(part, whole)
