import io
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.spatial.distance import squareform

from fashion.catalogue.groups import groups_of_all
from fashion.catalogue.root import open_root
from fashion.catalogue.table import load_catalogue
from fashion.twins import alignment, edge_index, matching
from fashion.twins import groups as module
from fashion.twins.alignment import Pairs, compare
from fashion.twins.groups import find_twins, group_photos
from fashion.twins.matching import MAX_DISTANCE
from fashion.twins.thumbnail_store import Thumbnails


@pytest.fixture
def groups(thumbnails_of):
    """Returns groups(photos), the group of each."""

    def find(photos):
        numbers, distances = group_photos(thumbnails_of(photos))
        assert ((distances >= 0) & (distances <= MAX_DISTANCE)).all()
        return numbers.tolist()

    return find


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
def test_a_changed_photo_is_a_twin(change, changes, originals, encoded, groups):
    photos = [*map(encoded, originals), *map(changes[change], originals[:12])]
    numbers = groups(photos)
    assert numbers[:12] == numbers[24:]
    assert len(set(numbers[:12])) == 12
    assert numbers[12:24] == [-1] * 12


def test_other_prints_on_the_same_shape_are_no_twins(product, encoded, groups):
    photos = [encoded(product(seed)) for seed in range(60)]
    assert groups(photos) == [-1] * 60


def test_identical_photos_are_one_group_however_many(product, encoded, groups):
    photos = [encoded(product(1))] * 25 + [encoded(product(seed)) for seed in range(2, 9)]
    assert groups(photos) == [0] * 25 + [-1] * 7


def test_twins_of_twins_make_no_chain(product, encoded, groups, thumbnails_of):
    first, last = product(1), product(2)
    photos = [encoded(Image.blend(first, last, step / 40)) for step in range(41)]
    numbers = np.array(groups(photos))
    assert numbers[0] != numbers[40]
    assert 2 <= len(set(numbers[numbers >= 0])) < 20
    thumbnails = thumbnails_of(photos)
    for group in set(numbers[numbers >= 0]):
        members = np.flatnonzero(numbers == group)
        a, b = np.triu_indices(len(members), 1)
        distances = compare(thumbnails, members[a], members[b], 0).distance
        assert distances.max() <= MAX_DISTANCE + 1e-5


def test_a_photo_that_cant_be_decoded_or_is_blank_has_no_twin(product, encoded, groups):
    blank = encoded(Image.new("RGB", (60, 80), "white"))
    photos = [b"", b"", blank, encoded(product(1)), encoded(product(1), 60), b"no photo"]
    assert groups(photos) == [-1, -1, -1, 0, 0, -1]


def test_neither_blocks_nor_chunks_decide_the_groups_and_nothing_is_read_as_a_whole(
    originals, changes, encoded, thumbnails_of, monkeypatch
):
    photos = [*map(encoded, originals)]
    for change in ("recoloured", "encoded", "right side", "top"):
        photos += map(changes[change], originals[:12])
    numbers, distances = group_photos(thumbnails_of(photos))
    assert numbers.max() == 11
    taken, take = {}, Thumbnails.take

    def measured(self, name, chosen=slice(None)):
        rows = take(self, name, chosen)
        taken[name] = max(taken.get(name, 0), len(rows))
        return rows

    monkeypatch.setattr(Thumbnails, "take", measured)
    for patched in (
        *((matching, "BLOCK", 3), (edge_index, "BLOCK", 3)),
        *((alignment, "CHUNK", 2), (module, "AT_ONCE", 4)),
    ):
        monkeypatch.setattr(*patched)
    in_parts = group_photos(thumbnails_of(photos))
    np.testing.assert_array_equal(in_parts[0], numbers)
    np.testing.assert_allclose(in_parts[1], distances, atol=1e-5)
    assert {taken.pop("sizes"), taken.pop("digests")} == {len(photos)}
    assert taken.pop("coarse") <= 3 * 11  # photos and their neighbours
    assert max(taken.values()) == 2


def plain_parts(pairs, size, max_distance):
    """Yield pictures that twins connect and the places of the pairs within, as slowly as can be."""
    parent = list(range(size))

    def root(i):
        return i if parent[i] == i else root(parent[i])

    for a, b, distance in zip(*pairs, strict=True):
        if distance <= max_distance:
            parent[root(a)] = root(b)
    for first in range(size):
        members = [i for i in range(size) if root(i) == root(first)]
        within = np.isin(pairs.a, members) & np.isin(pairs.b, members)
        if len(members) > module.LARGEST and members[0] == first:
            yield from plain_parts(pairs.where(within), size, max_distance / 2)
        elif len(members) > 1 and members[0] == first:
            yield members, pairs.where(within)


@pytest.mark.parametrize("seed", range(20))
def test_parts_and_their_distances_are_those_that_a_plain_search_finds(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 60))
    wholes = rng.random((size, size)).round(1) / 4
    wholes = (wholes + wholes.T).astype(np.float32)
    a, b = rng.integers(0, size, (2, 2 * size))
    pairs = Pairs(a, b, (rng.random(2 * size) * MAX_DISTANCE).astype(np.float32)).where(a != b)
    monkeypatch.setattr(module, "LARGEST", int(rng.integers(2, 12)))
    monkeypatch.setattr(module, "AT_ONCE", int(rng.integers(1, 20)))
    monkeypatch.setattr(module, "compare", lambda _, a, b, view: Pairs(a, b, wholes[a, b]))
    expected = {}
    for members, within in plain_parts(pairs, size, MAX_DISTANCE):
        matrix = wholes.astype(float)
        np.minimum.at(matrix, (within.a, within.b), within.distance)
        matrix = np.minimum(matrix, matrix.T)[np.ix_(members, members)]
        np.fill_diagonal(matrix, 0)
        expected[tuple(members)] = squareform(matrix).tolist()
    found = module._components(range(size), pairs)
    assert {tuple(members): apart.tolist() for members, apart in found} == expected


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
