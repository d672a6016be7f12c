"""What is left of features whose files a cleaner or a broken copy has changed."""

import errno
import os
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fashion import shards
from fashion.data.batches import PADDING, DecodedPhotos, ProductDataset
from fashion.data.feature_data import DeviceFeatures, FeatureDataset
from fashion.data.feature_store import MissingSampler, fill, open_features, view_names
from fashion.models.cut import BoundaryTensor
from fashion.shards import INDEX, KEY, KEYS, check_places

BOUNDARY = (BoundaryTensor("map", (3, 4, 2)), BoundaryTensor("row", (6,)))
NUM_PHOTOS = 20
KEYS_OF_ALL = np.arange(2 * NUM_PHOTOS).view(KEY)
FIRST, ALL = np.arange(8), np.arange(NUM_PHOTOS)
SEED = np.random.default_rng(0).integers(0, 256, (NUM_PHOTOS, 16, 16, 3), np.uint8)
PHOTOS = DecodedPhotos(SEED, 16)


def features_of(photos):
    means = photos.float().mean((2, 3)) + 1
    return means[:, :, None, None] + torch.arange(8.0).reshape(4, 2), torch.cat([means, means], 1)


@pytest.fixture
def filled(tmp_path):
    """Returns filled(slots), which fills two views of these photos and returns store and count."""

    def fill_(slots=ALL):
        store = open_features(
            tmp_path, "key", KEYS_OF_ALL, BOUNDARY, precision="float32", views=view_names(2, 0, 0)
        )
        computed = []

        def make_loader():
            sampler = MissingSampler(store, [slots, slots], 4)
            dataset = ProductDataset(
                PHOTOS, ALL, np.zeros(NUM_PHOTOS, np.int64), augment=False, rotation=0, seed=0
            )
            return DataLoader(dataset, batch_size=None, sampler=sampler)

        def compute(photos):
            computed.append(len(photos))
            return features_of(photos)

        fill(store, make_loader, compute)
        return store, sum(computed)

    return fill_


def check(store, slots=ALL):
    """The features are those of the photos: nowhere a hole."""
    expected = features_of(torch.from_numpy(SEED[slots]).permute(0, 3, 1, 2))
    for view in (0, 1):
        for part, wanted in zip(store.read(view, slots), expected, strict=True):
            assert torch.equal(part, wanted)


def put_a_folder(path):
    path.unlink()
    path.mkdir()


def put_a_file(view):
    shutil.rmtree(view)
    view.touch()


DAMAGES = {
    "no maps": lambda shard: (shard / "0.bin").unlink(),
    "shortened": lambda shard: os.truncate(shard / "0.bin", 100),
    "longer": lambda shard: os.truncate(shard / "1.bin", 8 * 24 + 1),
    "a folder for maps": lambda shard: put_a_folder(shard / "0.bin"),
    "no keys": lambda shard: (shard / KEYS).unlink(),
    "nothing": lambda shard: [path.unlink() for path in shard.iterdir()],
    "a file for the folder": put_a_file,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_features_are_computed_again_and_no_others(damage, filled, caplog):
    """Photos of which only a part was there were trained on as zeros."""
    store, _ = filled(FIRST)
    damage(store.views[0].folder / "00000")
    store, computed = filled(ALL)
    assert computed == 20 + 12  # all of the plain view, of the other one what it lacks
    check(store)
    assert "is damaged (00000: " in caplog.text
    assert filled(ALL)[1] == 0


def test_what_another_process_reads_stays_while_it_is_made_anew(filled):
    first, _ = filled(FIRST)
    check(first, FIRST)
    (first.views[0].folder / "00000" / KEYS).unlink()
    filled(ALL)
    check(first, FIRST)  # from the files that it has open


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"photos": "many"}', bytes(range(256))])
def test_a_damaged_index_is_no_loss(content, filled):
    store, _ = filled()
    index = store.views[0].folder / INDEX
    before = index.read_bytes()
    index.write_bytes(content)
    store, computed = filled()
    assert computed == 0
    check(store)
    (store.views[0].folder / "00000" / KEYS).unlink()
    check(filled()[0])
    assert index.read_bytes() == before


def test_a_file_in_the_place_of_a_store_makes_way(filled):
    store, _ = filled()
    shutil.rmtree(store.views[1].folder)
    store.views[1].folder.write_text("a file")
    check(filled()[0])


def test_what_is_complete_needs_nothing_written(filled, monkeypatch, tmp_path):
    filled(FIRST)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for name in ("make_folder", "alone", "write_file"):
        monkeypatch.setattr(shards, name, lambda *_, **__: pytest.fail("written"))
    check(filled(FIRST)[0], FIRST)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_features_that_cannot_be_written_name_the_folder(filled, monkeypatch, tmp_path):
    store, _ = filled(FIRST)

    def refuse(file, content):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(shards, "write_all", refuse)
    with pytest.raises(OSError, match=r"can't be written \(Permission denied\)") as caught:
        filled(ALL)
    assert str(caught.value).startswith(f"data.cache_dir='{tmp_path}' can't be written")
    assert len(store.missing(0, ALL)) == 12


@pytest.mark.parametrize(
    ("places", "wrong"), [([0, 20], 20), ([-1], -1), ([5, -20, 3], -20), ([10**12], 10**12)]
)
def test_a_place_that_is_not_there_is_an_error(places, wrong, filled):
    """Numpy would count from the end or, told to clip, take the nearest; so would XLA."""
    places, message = np.array(places), rf"There is no place {wrong} among 20"
    store, _ = filled()
    on_device = DeviceFeatures(store, [ALL, ALL], torch.device("cpu"))
    targets = np.zeros(len(places), np.int64)
    plain = {"augment": False, "rotation": 0, "seed": 0}
    rows = np.arange(len(places))
    for take in (
        lambda: check_places(places, 20),
        lambda: store.missing(0, places),
        lambda: store.read(0, places),
        lambda: on_device.places(0, places),
        lambda: ProductDataset(PHOTOS, places, targets, **plain)[0, rows],
        lambda: FeatureDataset(store, places, targets, 2)[0, rows],
        lambda: FeatureDataset(store, places, targets, 2, on_device=on_device)[0, rows],
    ):
        with pytest.raises(IndexError, match=message):
            take()


@pytest.mark.parametrize("row", [8, -2])
def test_a_row_that_is_not_there_is_an_error_and_padding_is_none(row, filled):
    store, _ = filled()
    targets = np.zeros(8, np.int64)
    for dataset in (
        ProductDataset(PHOTOS, FIRST, targets, augment=False, rotation=0, seed=0),
        FeatureDataset(store, FIRST, targets, 2),
    ):
        assert dataset[0, np.array([7, PADDING])].rows.tolist() == [7, PADDING]
        with pytest.raises(IndexError, match=rf"There is no place {row} among 8"):
            dataset[0, np.array([0, row])]


def test_features_that_were_not_computed_are_not_read_as_zeros(filled):
    store, _ = filled(FIRST)
    check(store, FIRST)
    with pytest.raises(IndexError, match=r"lacks the features of place 8\."):
        store.read(0, np.array([0, 8]))
    on_device = DeviceFeatures(store, [FIRST, FIRST], torch.device("cpu"))
    with pytest.raises(IndexError, match=r"There is no place -1 among 16"):
        on_device.places(0, np.array([0, 8]))
