import threading

import numpy as np
import pytest

from fashion.twins import thumbnail_store as module
from fashion.twins.thumbnail_store import ThumbnailStore
from fashion.twins.thumbnails import FIELDS, look, thumbnails


@pytest.fixture(scope="module")
def files(product, encoded):
    return [encoded(product(seed)) for seed in range(6)]


@pytest.fixture
def keys(keys_of, files):
    return keys_of(len(files))


def contents(store, keys):
    return {field.name: store.of(keys).take(field.name) for field in FIELDS}


@pytest.mark.parametrize(("chunk", "kept_back"), [(256, 8_192), (2, 3), (4, 1)])
def test_each_photo_has_what_a_look_at_it_saw(chunk, kept_back, files, keys, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", chunk)
    monkeypatch.setattr(module, "KEPT_BACK", kept_back)
    ThumbnailStore(tmp_path).fill(keys, range(6), files.__getitem__)
    kept = contents(ThumbnailStore(tmp_path), keys[::-1])
    for name, array in thumbnails(map(look, files[::-1])).items():
        np.testing.assert_array_equal(kept[name], array)


def test_photos_that_cant_be_read_have_no_size(files, keys, tmp_path):
    def read(i):
        if i == 1:
            raise ValueError("damaged in its zip")
        return b"no photo" if i == 2 else files[i]

    store = ThumbnailStore(tmp_path)
    store.fill(keys, range(6), read)
    sizes = store.of(keys).take("sizes")
    assert (sizes > 0).all(axis=1).tolist() == [True, False, False, True, True, True]
    assert not len(store.missing(keys))


def test_one_photo_more_is_looked_at_alone(files, keys, tmp_path):
    ThumbnailStore(tmp_path).fill(keys[:5], range(5), files.__getitem__)
    read, store = [], ThumbnailStore(tmp_path)
    assert store.missing(keys).tolist() == [5]
    store.fill(keys, range(6), lambda i: read.append(i) or files[i])
    assert read == [5]
    assert contents(store, keys)["fine"].shape == (6, 3, 48, 48)


def test_photos_of_one_key_are_looked_at_once(files, keys, tmp_path):
    twice, read = np.concatenate([keys, keys[:3]]), []
    store = ThumbnailStore(tmp_path)
    store.fill(twice, [*range(6), *range(3)], lambda i: read.append(i) or files[i])
    assert sorted(read) == list(range(6))
    fine = store.of(twice).take("fine")
    np.testing.assert_array_equal(fine[:3], fine[6:])


def test_what_cant_be_read_now_ends_the_search_and_is_not_kept(files, keys, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)

    def read(i):
        if i == 3:
            raise OSError("The disk is gone.")
        return files[i]

    with pytest.raises(OSError, match="The disk is gone"):
        ThumbnailStore(tmp_path).fill(keys, range(6), read)
    store = ThumbnailStore(tmp_path)
    assert store.missing(keys).tolist() == [2, 3, 4, 5]
    store.fill(keys, range(6), files.__getitem__)
    assert (store.of(keys).take("sizes") > 0).all()


def test_what_two_saw_at_once_is_kept_once(files, keys, tmp_path):
    stores = [ThumbnailStore(tmp_path) for _ in range(2)]
    both = threading.Barrier(2)

    def fill(store):
        with store.adding():
            store.add(keys, [store.look(file) for file in files])
            both.wait()

    threads = [threading.Thread(target=fill, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = (tmp_path / "thumbnails").glob("*/*/keys.bin")
    assert sum(path.stat().st_size for path in records) == 16 * 6
    np.testing.assert_array_equal(*(store.of(keys).take("fine") for store in stores))
