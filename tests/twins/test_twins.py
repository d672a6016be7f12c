import io
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from fashion.catalogue.root import open_root
from fashion.catalogue.table import load_catalogue
from fashion.twins import twins as module
from fashion.twins.twins import MAX_DISTANCE, find_twins, group_photos, groups_of_all

WIDTH, HEIGHT = 180, 240


def product(seed, *, shape=0):
    """Draws an invented product on white: the shape is common, the print on it is its own."""
    rng = np.random.default_rng((seed, 7))
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    outline = [
        [(30, 40), (150, 40), (160, 200), (20, 200)],
        [(60, 20), (120, 20), (150, 120), (110, 220), (70, 220), (30, 120)],
        [(20, 90), (160, 70), (165, 150), (25, 170)],
    ][shape % 3]
    draw.polygon(outline, fill=tuple(rng.integers(60, 170, 3).tolist()))
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    print_ = image.copy()
    pen = ImageDraw.Draw(print_)
    for _ in range(14):
        x, y = rng.integers(15, 165), rng.integers(15, 225)
        size = rng.integers(6, 26)
        colour = tuple(rng.integers(20, 230, 3).tolist())
        (pen.ellipse if rng.random() < 0.5 else pen.rectangle)(
            (x - size, y - size / 2, x + size, y + size / 2), fill=colour
        )
    image.paste(print_, mask=mask)
    return image


def encoded(image, quality=90):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def recoloured(image):
    """Gives the product other colours; white stays white."""
    red, green, blue = image.split()
    return Image.merge("RGB", (blue, red, green))


def cropped(image, left, top, right, bottom):
    width, height = image.size
    return image.crop((left * width, top * height, right * width, bottom * height))


def groups(photos):
    found, distances = group_photos(photos.__getitem__, len(photos))
    assert ((distances >= 0) & (distances <= MAX_DISTANCE)).all()
    return found.tolist()


CHANGES = {
    "encoded": lambda image: encoded(image, 55),
    "smaller": lambda image: encoded(image.resize((90, 120))),
    "larger": lambda image: encoded(image.resize((360, 480))),
    "recoloured": lambda image: encoded(recoloured(image)),
    "darker": lambda image: encoded(image.point(lambda grey: grey if grey > 250 else grey * 0.7)),
    "padded": lambda image: encoded(padded(image)),
    "all round": lambda image: encoded(cropped(image, 0.08, 0.06, 0.93, 0.95)),
    "right side": lambda image: encoded(cropped(image, 0, 0, 0.87, 1)),
    "top": lambda image: encoded(cropped(image, 0, 0.14, 1, 1)),
    "small and recoloured": lambda image: encoded(recoloured(image).resize((120, 160)), 80),
}  # fmt: skip


def padded(image):
    wide = Image.new("RGB", (300, 300), "white")
    wide.paste(image, (70, 20))
    return wide


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_photo_is_a_twin(change):
    originals = [product(seed, shape=seed) for seed in range(24)]
    photos = [*map(encoded, originals), *map(CHANGES[change], originals[:12])]
    found = groups(photos)
    assert found[:12] == found[24:]
    assert len(set(found[:12])) == 12
    assert found[12:24] == [-1] * 12


def test_other_prints_on_the_same_shape_are_no_twins():
    photos = [encoded(product(seed)) for seed in range(60)]
    assert groups(photos) == [-1] * 60


def test_identical_photos_are_one_group_however_many():
    photos = [encoded(product(1))] * 25 + [encoded(product(seed)) for seed in range(2, 9)]
    assert groups(photos) == [0] * 25 + [-1] * 7


def test_twins_of_twins_make_no_chain():
    first, last = product(1), product(2)
    photos = [encoded(Image.blend(first, last, step / 40)) for step in range(41)]
    found = np.array(groups(photos))
    assert found[0] != found[40]
    assert 2 <= len(set(found[found >= 0])) < 20
    thumbnails = module.make_thumbnails(photos.__getitem__, len(photos))
    for group in set(found[found >= 0]):
        members = np.flatnonzero(found == group)
        a, b = np.triu_indices(len(members), 1)
        distances = module.compare(thumbnails, members[a], members[b], 0).distance
        assert distances.max() <= MAX_DISTANCE + 1e-5


def test_a_photo_that_cant_be_decoded_or_is_blank_has_no_twin():
    blank = encoded(Image.new("RGB", (60, 80), "white"))
    photos = [b"", b"", blank, encoded(product(1)), encoded(product(1), 60), b"no photo"]
    assert groups(photos) == [-1, -1, -1, 0, 0, -1]


def test_an_index_in_lists_finds_what_a_flat_one_does(monkeypatch):
    originals = [product(seed, shape=seed) for seed in range(150)]
    photos = [*map(encoded, originals), *(encoded(recoloured(image)) for image in originals[:50])]
    flat = groups(photos)
    monkeypatch.setattr(module, "PHOTOS_A_LIST", 1)
    monkeypatch.setattr(module, "LISTS", 40)
    assert groups(photos) == flat


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


@pytest.mark.slow
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
    found = groups_of_all(table, find_twins(root, table, tmp_path))
    assert (found[same.index].groupby(same).nunique() == 1).all()
