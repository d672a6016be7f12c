import numpy as np
import pytest
from PIL import Image

from fashion.twins import alignment
from fashion.twins.alignment import Pairs, compare
from fashion.twins.matching import MAX_DISTANCE
from fashion.twins.thumbnails import CROPS


@pytest.fixture(scope="module")
def thumbnails(product, encoded, recoloured, thumbnails_of):
    """Of a product, itself moved by two pixels, recoloured and cropped at the right, and others."""
    image = product(3)
    moved = Image.new("RGB", image.size, "white")
    moved.paste(image, (2, -2))
    crop = image.crop((0, 0, round(0.85 * image.width), image.height))
    photos = [image, moved, recoloured(image), crop, *(product(seed) for seed in range(4, 8))]
    return thumbnails_of([encoded(each) for each in photos])


def distances(thumbnails, a, b, view=0):
    return compare(thumbnails, np.array(a), np.array(b), view).distance


def test_a_photo_hardly_differs_from_itself(thumbnails):
    everyone = range(8)
    np.testing.assert_allclose(distances(thumbnails, everyone, everyone), 0, atol=0.03)


def test_moving_and_recolouring_make_no_other_picture(thumbnails):
    assert (distances(thumbnails, [0, 0, 1], [1, 2, 2]) < MAX_DISTANCE).all()


def test_other_prints_on_the_same_shape_are_far(thumbnails):
    assert (distances(thumbnails, [0] * 4, range(4, 8)) > 2 * MAX_DISTANCE).all()


def test_a_crop_is_found_in_its_own_view(thumbnails):
    view = 1 + CROPS.index((0.0, 0.0, 0.85, 1.0))
    assert distances(thumbnails, [0], [3], view) < MAX_DISTANCE
    assert distances(thumbnails, [0], [4], view) > 2 * MAX_DISTANCE


def test_pairs_in_parts_are_compared_as_they_are_at_once(thumbnails, monkeypatch):
    a, b = np.triu_indices(8, 1)
    at_once = distances(thumbnails, a, b)
    monkeypatch.setattr(alignment, "CHUNK", 5)
    np.testing.assert_allclose(distances(thumbnails, a, b), at_once, atol=1e-5)


def test_no_pairs_are_compared_to_none(thumbnails):
    none = np.array([], int)
    assert [len(column) for column in compare(thumbnails, none, none, 0)] == [0, 0, 0]


def test_a_mask_chooses_pairs():
    pairs = Pairs(np.arange(3), np.arange(3) + 5, np.array([0.5, 0, 0.1]))
    chosen = pairs.where(pairs.distance < 0.3)
    assert [column.tolist() for column in chosen] == [[1, 2], [6, 7], [0, 0.1]]
