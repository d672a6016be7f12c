import io
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fashion.catalogue.groups import groups_of_all
from fashion.catalogue.root import open_root
from fashion.catalogue.table import load_catalogue
from fashion.twins import groups as module
from fashion.twins.alignment import compare
from fashion.twins.groups import find_twins, group_photos
from fashion.twins.matching import MAX_DISTANCE
from fashion.twins.thumbnails import make_thumbnails


def groups(photos):
    numbers, distances = group_photos(photos.__getitem__, len(photos))
    assert ((distances >= 0) & (distances <= MAX_DISTANCE)).all()
    return numbers.tolist()


def cropped(image, left, top, right, bottom):
    width, height = image.size
    return image.crop((left * width, top * height, right * width, bottom * height))


def padded(image):
    wide = Image.new("RGB", (300, 300), "white")
    wide.paste(image, (70, 20))
    return wide


@pytest.fixture(scope="module")
def originals(product):
    return [product(seed, shape=seed) for seed in range(24)]


@pytest.fixture(scope="module")
def changes(encoded, recoloured):
    return {
        "encoded": lambda image: encoded(image, 55),
        "smaller": lambda image: encoded(image.resize((90, 120))),
        "larger": lambda image: encoded(image.resize((360, 480))),
        "recoloured": lambda image: encoded(recoloured(image)),
        "darker": lambda image: encoded(
            image.point(lambda grey: grey if grey > 250 else grey * 0.7)
        ),
        "padded": lambda image: encoded(padded(image)),
        "all round": lambda image: encoded(cropped(image, 0.08, 0.06, 0.93, 0.95)),
        "right side": lambda image: encoded(cropped(image, 0, 0, 0.87, 1)),
        "top": lambda image: encoded(cropped(image, 0, 0.14, 1, 1)),
        "small and recoloured": lambda image: encoded(recoloured(image).resize((120, 160)), 80),
    }


@pytest.mark.parametrize(
    "change",
    [
        *("encoded", "smaller", "larger", "recoloured", "darker", "padded"),
        *("all round", "right side", "top", "small and recoloured"),
    ],
)
def test_a_changed_photo_is_a_twin(change, changes, originals, encoded):
    photos = [*map(encoded, originals), *map(changes[change], originals[:12])]
    numbers = groups(photos)
    assert numbers[:12] == numbers[24:]
    assert len(set(numbers[:12])) == 12
    assert numbers[12:24] == [-1] * 12


def test_other_prints_on_the_same_shape_are_no_twins(product, encoded):
    photos = [encoded(product(seed)) for seed in range(60)]
    assert groups(photos) == [-1] * 60


def test_identical_photos_are_one_group_however_many(product, encoded):
    photos = [encoded(product(1))] * 25 + [encoded(product(seed)) for seed in range(2, 9)]
    assert groups(photos) == [0] * 25 + [-1] * 7


def test_twins_of_twins_make_no_chain(product, encoded):
    first, last = product(1), product(2)
    photos = [encoded(Image.blend(first, last, step / 40)) for step in range(41)]
    numbers = np.array(groups(photos))
    assert numbers[0] != numbers[40]
    assert 2 <= len(set(numbers[numbers >= 0])) < 20
    thumbnails = make_thumbnails(photos.__getitem__, len(photos))
    for group in set(numbers[numbers >= 0]):
        members = np.flatnonzero(numbers == group)
        a, b = np.triu_indices(len(members), 1)
        distances = compare(thumbnails, members[a], members[b], 0).distance
        assert distances.max() <= MAX_DISTANCE + 1e-5


def test_a_photo_that_cant_be_decoded_or_is_blank_has_no_twin(product, encoded):
    blank = encoded(Image.new("RGB", (60, 80), "white"))
    photos = [b"", b"", blank, encoded(product(1)), encoded(product(1), 60), b"no photo"]
    assert groups(photos) == [-1, -1, -1, 0, 0, -1]


def test_twins_are_kept_for_the_same_photos(tiny_root, tmp_path, monkeypatch):
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_root, folder)
    shutil.copy(folder / "images" / "1000.jpg", folder / "images" / "1001.jpg")
    root = open_root(folder)
    table = load_catalogue(root, min_images=10).table
    twins = find_twins(root, table, tmp_path / "cache")
    pair = twins[twins["id"].isin(["1000", "1001"])]
    assert pair["group"].nunique() == 1
    assert set(pair["label"]) == {"Shirts", "Jeans"}
    assert (pair["distance"] == 0).all()
    monkeypatch.setattr(module, "group_photos", lambda *_: pytest.fail("looked again"))
    pd.testing.assert_frame_equal(find_twins(root, table, tmp_path / "cache"), twins)
    of_all = groups_of_all(table, twins)
    assert of_all.nunique() == len(table) - len(twins) + twins["group"].nunique()


@pytest.mark.long
def test_the_pixel_identical_groups_of_the_real_catalogue_are_found(real_root, tmp_path):
    root = open_root(real_root)
    table = load_catalogue(root).table
    pixels = [
        Image.open(io.BytesIO(root.read(photo))).convert("RGB").tobytes()
        for photo in table["photo"]
    ]
    same = pd.Series(pixels, index=table.index).map(hash)
    same = same[same.duplicated(keep=False)]
    assert (same.nunique(), len(same)) == (649, 1_425)
    of_all = groups_of_all(table, find_twins(root, table, tmp_path))
    assert (of_all[same.index].groupby(same).nunique() == 1).all()
