import io
import pickle

import numpy as np
import pytest
from PIL import Image

from fashion.reports.corruptions import CORRUPTIONS, downscale, recolour_ground

NAMES = ["blur", "downscaling", "darker", "brighter", "background"]
GREEN = (0, 120, 90)
RED_OF_PRODUCT = 130


def each(name):
    return [corruption for corruption in CORRUPTIONS if corruption.name == name]


def published(size=(224, 224), ground=(255, 255, 255)):
    """A striped brown product with a white hole, small and compressed as the published photos."""
    pixels = np.full((80, 60, 3), ground, np.uint8)
    pixels[10:70, 12:48] = (RED_OF_PRODUCT, 80, 40)
    pixels[10:70:6, 12:48] = (100, 60, 60)
    pixels[32:48, 22:38] = 255
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=85)
    image = Image.open(content).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image)


def distance(photo, other):
    return np.abs(photo.astype(float) - other).mean()


def test_every_suspected_cause_has_three_grades():
    assert [corruption.name for corruption in CORRUPTIONS] == [n for n in NAMES for _ in range(3)]
    assert len({corruption[:2] for corruption in CORRUPTIONS}) == len(CORRUPTIONS)


@pytest.mark.parametrize("size", [(64, 64), (96, 72), (224, 224)])
@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: f"{c.name}-{c.level}")
def test_a_photo_is_changed_in_a_copy_of_its_shape_always_alike(corruption, size):
    photo = published(size)
    before = photo.copy()
    changed = corruption.apply(photo)
    assert changed.shape == photo.shape
    assert changed.dtype == np.uint8
    assert changed.flags.writeable
    np.testing.assert_array_equal(photo, before)
    assert distance(changed, photo) > 0.5
    again = pickle.loads(pickle.dumps(corruption)).apply(photo)
    np.testing.assert_array_equal(again, changed)


@pytest.mark.parametrize("side", [64, 224, 331])
@pytest.mark.parametrize("name", NAMES)
def test_a_stronger_grade_is_farther_from_the_photo(name, side):
    photo = published((side, side))
    distances = [distance(corruption.apply(photo), photo) for corruption in each(name)]
    assert distances == sorted(distances)
    assert distances[0] < 0.8 * distances[2]


@pytest.mark.parametrize("corruption", each("blur") + each("downscaling"), ids=lambda c: c.level)
def test_lost_detail_means_the_same_at_every_input_size(corruption):
    small, large = (published((side, side)) for side in (96, 288))
    changed = Image.fromarray(corruption.apply(large)).resize((96, 96), Image.Resampling.BOX)
    assert distance(corruption.apply(small), np.asarray(changed)) < 3
    assert distance(corruption.apply(small), small) > 3


def test_a_photo_of_fewer_pixels_than_it_is_reduced_to_stays_as_it_is():
    photo = published((24, 24))
    np.testing.assert_array_equal(downscale(photo, 32), photo)


def test_brightness_is_a_factor_clipped_at_white():
    photo = np.full((8, 8, 3), 200, np.uint8)
    found = [int(corruption.apply(photo)[4, 4, 1]) for corruption in each("darker")]
    assert found == [140, 100, 60]
    found = [int(corruption.apply(photo)[4, 4, 1]) for corruption in each("brighter")]
    assert found == [220, 250, 255]


@pytest.mark.parametrize("corruption", each("background"), ids=lambda c: c.level)
def test_the_ground_changes_and_the_product_does_not(corruption):
    photo = published()
    changed = corruption.apply(photo)
    inside = np.s_[40:184, 56:168]
    np.testing.assert_array_equal(changed[inside], photo[inside])
    ground = np.concatenate([changed[:16].reshape(-1, 3), changed[:, :30].reshape(-1, 3)])
    assert len(np.unique(ground, axis=0)) == 1
    assert distance(ground[0], 255) > 40


def test_white_that_the_product_encloses_stays_white():
    changed = recolour_ground(published(), GREEN)
    assert (changed[100:124, 95:129] >= 240).all()


def test_no_white_rim_is_left_around_the_product():
    photo = published()
    changed = recolour_ground(photo, GREEN).astype(int)
    changed[80:144, 70:154] = 0  # the hole
    assert changed[:, :, 0].max() < RED_OF_PRODUCT + 25
    rim = photo[112, 30:56, 0]
    assert ((rim > RED_OF_PRODUCT + 25) & (rim < 235)).any()  # there was one to leave


def test_a_thin_chain_is_not_lost():
    photo = np.full((224, 224, 3), 255, np.uint8)
    photo[:, 100:103] = (120, 90, 20)
    changed = recolour_ground(photo, GREEN)
    np.testing.assert_array_equal(changed[:, 101], photo[:, 101])
    assert (changed[:, :100] == GREEN).all()


def test_specks_of_noise_belong_to_the_ground():
    photo = np.full((64, 64, 3), 255, np.uint8)
    photo[10:12, 10:12] = 230
    assert (recolour_ground(photo, GREEN) == GREEN).all()


@pytest.mark.parametrize("corruption", each("background"), ids=lambda c: c.level)
@pytest.mark.parametrize("ground", [(225, 225, 225), (40, 90, 140), (255, 255, 200)])
def test_a_photo_without_a_white_ground_stays_as_it_is(corruption, ground):
    photo = published(ground=ground)
    np.testing.assert_array_equal(corruption.apply(photo), photo)
