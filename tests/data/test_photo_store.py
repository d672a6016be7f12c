import dataclasses
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import pytest

from fashion.catalogue.images import decode_image
from fashion.catalogue.root import open_root
from fashion.catalogue.splits import assign_splits
from fashion.catalogue.table import drop_unreadable, load_catalogue
from fashion.commands.main import run
from fashion.data import photo_store as store_module
from fashion.data.cache import delete_stores, list_stores
from fashion.data.photo_store import num_absent, open_store

SETTINGS = {"input_size": 16, "fit": "pad", "interpolation": "bilinear"}

# Packs a catalogue as a run would; with an argument more, it stops before that photo for good.
PACK = """
import os, sys, time
from pathlib import Path
from fashion import shards
from fashion.data import photo_store as store
from fashion.catalogue.table import load_catalogue
from fashion.catalogue.root import open_root

root, cache_dir, *stop = sys.argv[1:]
decode, decoded = store.decode_image, []

def decode_until_the_stop(content, **settings):
    decoded.append(content)
    if stop and len(decoded) == int(stop[0]):
        print("stopped", flush=True)
        time.sleep(600)
    return decode(content, **settings)

store.decode_image, store.CHUNK, shards.MAX_RECORDS = decode_until_the_stop, 16, 32
table = load_catalogue(open_root(root), min_images=10).table
Path(f"{cache_dir}, opened by {os.getpid()}").touch()
opened = store.open_store(open_root(root), table, 16, "pad", "bilinear", Path(cache_dir))
print(opened.shards.folder, len(decoded))
"""


@pytest.fixture
def pack(tmp_path):
    """Returns pack(root, **settings), which opens a store in tmp_path/cache."""

    def pack_(root, min_images=10, **settings):
        root = open_root(root)
        table = load_catalogue(root, min_images=min_images).table
        return open_store(root, table, **SETTINGS | settings, cache_dir=tmp_path / "cache")

    return pack_


@pytest.fixture
def copy(tiny_root, tmp_path):
    return shutil.copytree(tiny_root, tmp_path / "copy")


@pytest.fixture
def start_packing(tiny_root, tmp_path):
    """Returns start(stop), which starts a process that packs, and stops before a photo if told."""
    started = []

    def start(*stop):
        command = [sys.executable, "-c", PACK, str(tiny_root), str(tmp_path / "cache")]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen([*command, *map(str, stop)], **streams)
        started.append(process)
        if stop:
            assert process.stdout.readline() == "stopped\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def decoded(monkeypatch):
    """The contents decoded from now on."""
    contents = []

    def count(content, **settings):
        contents.append(content)
        return decode_image(content, **settings)

    monkeypatch.setattr(store_module, "decode_image", count)
    return contents


@pytest.fixture
def no_decoding(monkeypatch):
    def refuse(content, **settings):
        raise AssertionError("a photo was decoded")

    return lambda: monkeypatch.setattr(store_module, "decode_image", refuse)


def photos_of(store):
    return store.take(np.arange(len(store)))


def expected_photos(root, min_images=10):
    root = open_root(root)
    table = load_catalogue(root, min_images=min_images).table
    return np.stack([decode_image(root.read(photo), **SETTINGS) for photo in table["photo"]])


def folders(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "photos").iterdir() if path.is_dir())


def zip_of(folder, path):
    return shutil.make_archive(str(path), "zip", folder)


def test_the_store_holds_every_photo_as_decoded(tiny_root, pack):
    store = pack(tiny_root)
    assert photos_of(store).shape == (120, 16, 16, 3)
    assert photos_of(store).dtype == np.uint8
    assert store.unreadable == {}
    assert (
        store.ids.tolist()
        == load_catalogue(open_root(tiny_root), min_images=10).table["id"].tolist()
    )
    np.testing.assert_array_equal(photos_of(store), expected_photos(tiny_root))


def test_a_store_of_several_chunks_keeps_the_order(tiny_root, pack, monkeypatch):
    monkeypatch.setattr(store_module, "CHUNK", 7)
    np.testing.assert_array_equal(photos_of(pack(tiny_root)), expected_photos(tiny_root))


def test_a_second_opening_decodes_nothing(tiny_root, pack, no_decoding):
    first = pack(tiny_root)
    before = {path: path.stat().st_mtime_ns for path in first.shards.folder.iterdir()}
    no_decoding()
    second = pack(tiny_root)
    assert second.shards.folder == first.shards.folder
    assert {path: path.stat().st_mtime_ns for path in first.shards.folder.iterdir()} == before
    np.testing.assert_array_equal(photos_of(second), expected_photos(tiny_root))


@pytest.mark.parametrize(
    "settings", [{"input_size": 17}, {"fit": "squash"}, {"interpolation": "bicubic"}]
)
def test_other_settings_pack_another_store(tiny_root, pack, settings):
    first, second = pack(tiny_root), pack(tiny_root, **settings)
    assert first.shards.folder != second.shards.folder
    assert not np.array_equal(photos_of(first), photos_of(second))


def test_more_photos_pack_what_is_new_alone(tiny_root, pack, decoded):
    first = pack(tiny_root)
    assert len(decoded) == 120
    second = pack(tiny_root, min_images=1)
    assert [len(first), len(second), len(decoded)] == [120, 122, 122]
    np.testing.assert_array_equal(photos_of(second), expected_photos(tiny_root, min_images=1))
    assert pack(tiny_root).shards.folder == second.shards.folder
    np.testing.assert_array_equal(photos_of(pack(tiny_root)), expected_photos(tiny_root))
    assert len(decoded) == 122


def test_rows_in_another_order_get_their_own_photos(tiny_root, pack, tmp_path):
    pack(tiny_root)
    root = open_root(tiny_root)
    table = load_catalogue(root, min_images=10).table[::-3]
    store = open_store(root, table, **SETTINGS, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(photos_of(store), expected_photos(tiny_root)[::-3])
    places = store.slots(table["id"][5:9])
    assert places.tolist() == [5, 6, 7, 8]
    with pytest.raises(KeyError, match="nobody"):
        store.slots([table["id"].iloc[0], "nobody"])


def test_a_photo_of_several_rows_is_packed_once(tiny_root, decoded, tmp_path):
    root = open_root(tiny_root)
    table = load_catalogue(root, min_images=10).table
    table = table.assign(photo=table["photo"].iloc[0])[:7]
    store = open_store(root, table, **SETTINGS, cache_dir=tmp_path / "cache")
    assert len(decoded) == len(store.shards) == 1
    assert (photos_of(store) == expected_photos(tiny_root)[0]).all()


def test_a_photo_changed_in_place_is_packed_again(copy, pack, decoded):
    first = pack(copy)
    shutil.copy(copy / "images" / "1001.jpg", copy / "images" / "1000.jpg")
    second = pack(copy)
    assert len(decoded) == 121
    assert not np.array_equal(photos_of(first)[0], photos_of(second)[0])
    np.testing.assert_array_equal(photos_of(second), expected_photos(copy))


def test_a_photo_changed_in_a_zip_is_packed_again(copy, pack, decoded, tmp_path):
    pack(zip_of(copy, tmp_path / "a"))
    shutil.copy(copy / "images" / "1001.jpg", copy / "images" / "1000.jpg")
    np.testing.assert_array_equal(
        photos_of(pack(zip_of(copy, tmp_path / "b"))), expected_photos(copy)
    )
    assert len(decoded) == 121


def test_what_is_absent_is_counted_before_it_is_packed(tiny_root, pack, tmp_path):
    root = open_root(tiny_root)
    table = load_catalogue(root, min_images=1).table
    count = lambda: num_absent(root, table, **SETTINGS, cache_dir=tmp_path / "cache")  # noqa: E731
    assert count() == 122
    assert not (tmp_path / "cache").exists()
    pack(tiny_root)
    assert count() == 2
    pack(tiny_root, min_images=1)
    assert count() == 0


class Seen:
    """What is kept beside the packed photos here: the lengths of their files."""

    def __init__(self):
        self.kept = {}

    def look(self, content):
        return len(content)

    def add(self, keys, looks):
        self.kept |= zip([key.tobytes() for key in keys], looks, strict=True)


def test_what_is_kept_beside_is_seen_in_the_same_reading(copy, tmp_path):
    (copy / "images" / "1000.jpg").write_bytes(b"no photo")
    opened, read = open_root(copy), []
    root = dataclasses.replace(opened, read=lambda name: read.append(name) or opened.read(name))
    table = load_catalogue(root, min_images=10).table
    seen = Seen()
    open_store(root, table, **SETTINGS, cache_dir=tmp_path / "cache", beside=seen)
    assert len(read) == 120
    sizes = [os.path.getsize(photo) for photo in table["photo"]]
    assert seen.kept == {
        key.tobytes(): size for key, size in zip(root.keys(table["photo"]), sizes, strict=True)
    }


def test_another_label_column_needs_no_packing(tiny_root, pack, no_decoding, tmp_path):
    root = open_root(tiny_root)
    table = load_catalogue(root, min_images=10).table
    open_store(root, table, **SETTINGS, cache_dir=tmp_path / "cache")
    no_decoding()
    relabelled = table.assign(label="other")
    open_store(root, relabelled, **SETTINGS, cache_dir=tmp_path / "cache")


def test_a_moved_zip_is_not_packed_again(copy, pack, no_decoding, tmp_path):
    path = zip_of(copy, tmp_path / "a")
    first = pack(path)
    no_decoding()
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(path, tmp_path / "elsewhere" / "b.zip")
    os.utime(moved, (1, 1))
    assert pack(moved).shards.folder == first.shards.folder


def test_a_moved_folder_is_not_packed_again(copy, pack, no_decoding, tmp_path):
    first = pack(copy)
    no_decoding()
    assert pack(copy.rename(tmp_path / "moved")).shards.folder == first.shards.folder


def test_a_killed_packing_leaves_its_whole_shards_and_the_next_one_packs_the_others(
    tiny_root, pack, start_packing, decoded, monkeypatch
):
    process = start_packing(60)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    store = pack(tiny_root)
    assert len(decoded) == 120 - 32  # it had finished one shard, and 16 photos of the next
    np.testing.assert_array_equal(photos_of(store), expected_photos(tiny_root))
    assert not list(store.shards.folder.glob("*.unfinished"))


@pytest.fixture
def files_of_40_kb_at_most():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_packing_that_fails_leaves_no_store(tiny_root, pack, files_of_40_kb_at_most, tmp_path):
    with pytest.raises(OSError, match="File too large"):
        pack(tiny_root)
    assert list_stores(tmp_path / "cache")["state"].tolist() == ["unfinished"]
    lift_the_limit = files_of_40_kb_at_most
    lift_the_limit()
    np.testing.assert_array_equal(photos_of(pack(tiny_root)), expected_photos(tiny_root))
    assert list_stores(tmp_path / "cache")["state"].tolist() == ["complete"]


def test_two_processes_at_once_pack_one_store(tiny_root, pack, start_packing):
    processes = [start_packing() for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    stores, decoded = zip(*(stdout.split() for stdout, _ in outputs), strict=True)
    assert len(set(stores)) == 1
    assert sorted(map(int, decoded)) == [0, 120]
    store = pack(tiny_root)
    assert str(store.shards.folder) == stores[0]
    np.testing.assert_array_equal(photos_of(store), expected_photos(tiny_root))


def test_a_second_process_waits_for_the_first(start_packing, tmp_path):
    first = start_packing(60)
    second = start_packing()
    deadline = time.monotonic() + 60
    while not (tmp_path / f"cache, opened by {second.pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.5)  # in which it would pack the photos several times over
    assert second.poll() is None
    first.kill()
    stdout, stderr = second.communicate(timeout=60)
    assert stdout.split()[1] == "88", stderr  # but for the first one's whole shard


def disk_with(monkeypatch, free):
    usage = namedtuple("usage", "total used free")(10**12, 10**12 - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_a_full_disk_is_refused_before_anything_is_written(tiny_root, pack, monkeypatch, tmp_path):
    needed = 120 * 16 * 16 * 3
    disk_with(monkeypatch, needed - 1)
    with pytest.raises(OSError, match="are free") as caught:
        pack(tiny_root)
    assert re.fullmatch(
        rf"data\.cache_dir='{tmp_path}/cache': 120 photos at 16 px take 92\.2 kB, but 92\.2 kB are "
        r"free\. Pass data\.cache_dir on a larger disk, a smaller model\.input_size, or delete "
        r"stores \(fashion cache\)\.",
        str(caught.value),
    )
    assert list_stores(tmp_path / "cache")["state"].tolist() == ["unfinished"]
    disk_with(monkeypatch, needed)
    pack(tiny_root)


def test_the_room_of_a_killed_packing_counts_as_free(
    tiny_root, pack, start_packing, monkeypatch, tmp_path
):
    process = start_packing(60)
    process.kill()
    process.wait()
    (leftover,) = (tmp_path / "cache" / "photos").glob("*/*.unfinished")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda path: usage(10**6, 10**6, 0 if leftover.exists() else 10**6),
    )
    pack(tiny_root)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fit": "crop"}, r"data\.fit='crop' is unknown; pass squash or pad"),
        ({"input_size": 0}, r"model\.input_size=0 must be a number of pixels above 0"),
    ],
)
def test_a_wrong_setting_is_named(tiny_root, pack, settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        pack(tiny_root, **settings)
    assert not (tmp_path / "cache").exists()


def test_unreadable_photos_become_dropped_rows_with_their_reason(copy, pack, no_decoding):
    (copy / "images" / "1000.jpg").write_bytes(b"")
    (copy / "images" / "1004.jpg").write_bytes(b"no photo")
    whole = (copy / "images" / "1008.jpg").read_bytes()
    (copy / "images" / "1008.jpg").write_bytes(whole[: len(whole) // 2])
    store = pack(copy)
    reasons = {"1000": "empty file", "1004": "not a photo of a known format"}
    assert store.unreadable.keys() == {*reasons, "1008"}
    assert store.unreadable.items() >= reasons.items()
    assert re.search("(?i)truncated", store.unreadable["1008"])
    assert (store.take(np.array([0, 4, 8])) == 255).all()
    no_decoding()
    assert pack(copy).unreadable == store.unreadable

    catalogue = load_catalogue(open_root(copy), min_images=10)
    kept = drop_unreadable(catalogue, store.unreadable, 10)
    dropped = kept.dropped[kept.dropped["reason"] == "unreadable image"]
    assert dict(zip(dropped["id"], dropped["detail"], strict=True)) == store.unreadable
    assert kept.counts()["kept"] == 117
    assert not set(kept.table["id"]) & set(store.unreadable)
    assert len(assign_splits(kept.table)) == 117


def test_a_damaged_zip_entry_is_an_unreadable_photo(copy, pack, tmp_path):
    path = zip_of(copy, tmp_path / "a")
    with open(path, "r+b") as archive:
        content = archive.read()
        archive.seek(content.index(b"images/1000.jpg") + 100)
        archive.write(bytes(40))
    store = pack(path)
    assert store.unreadable.keys() == {"1000"}
    assert "damaged zip entry" in store.unreadable["1000"]


def test_a_photo_that_vanished_ends_the_packing_and_none_is_called_unreadable(copy, tmp_path):
    """Its disk may be away for a moment; a colleague's splits would be others."""
    root = open_root(copy)
    table = load_catalogue(root, min_images=10).table
    (copy / "images" / "1003.jpg").rename(tmp_path / "1003.jpg")
    with pytest.raises(OSError, match=r"1003\.jpg' can't be read now \(No such file"):
        open_store(root, table, **SETTINGS, cache_dir=tmp_path / "cache")
    assert list_stores(tmp_path / "cache")["state"].tolist() == ["unfinished"]
    (tmp_path / "1003.jpg").rename(copy / "images" / "1003.jpg")
    assert open_store(root, table, **SETTINGS, cache_dir=tmp_path / "cache").unreadable == {}


def test_stores_are_listed_with_their_facts(copy, pack, tmp_path):
    assert list_stores(tmp_path / "cache").empty
    (copy / "images" / "1000.jpg").write_bytes(b"")
    stores = {pack(copy, input_size=size).shards.folder.name: size for size in (100, 200)}
    listed = list_stores(tmp_path / "cache").set_index("key").to_dict("index")
    assert listed == {
        key: {
            "kind": "photos", "photos": 120, "input_size": size, "unreadable": 1,
            "bytes": pytest.approx(120 * size * size * 3, abs=16_384), "state": "complete",
        }
        for key, size in stores.items()
    }  # fmt: skip


def test_a_store_is_deleted_by_key_and_the_others_stay(tiny_root, pack, tmp_path):
    first, second = (pack(tiny_root, fit=fit).shards.folder.name for fit in ("pad", "squash"))
    assert delete_stores(tmp_path / "cache", [first]) == [first]
    assert folders(tmp_path) == [second]
    assert delete_stores(tmp_path / "cache", ["all"]) == [second]
    assert folders(tmp_path) == []


def test_an_unknown_key_is_an_error_that_names_the_known_ones(tiny_root, pack, tmp_path):
    key = pack(tiny_root).shards.folder.name
    with pytest.raises(ValueError, match=rf"no store 'abc' in {tmp_path}/cache; there are: {key}"):
        delete_stores(tmp_path / "cache", [key, "abc"])
    assert folders(tmp_path) == [key]
    with pytest.raises(ValueError, match=r"no store '\.\.' in .*; there are: none"):
        delete_stores(tmp_path / "nowhere", [".."])


def test_leftovers_of_a_killed_packing_are_listed_and_deleted(start_packing, tmp_path):
    process = start_packing(60)
    process.kill()
    process.wait()
    (row,) = list_stores(tmp_path / "cache").to_dict("records")
    assert row["state"] == "unfinished"
    assert row["photos"] == 32
    assert delete_stores(tmp_path / "cache", ["all"]) == [row["key"]]
    assert folders(tmp_path) == []


def test_a_store_that_another_process_packs_is_never_deleted(
    tiny_root, pack, start_packing, tmp_path
):
    finished = pack(tiny_root, fit="squash").shards.folder.name
    start_packing(60)
    states = list_stores(tmp_path / "cache").set_index("key")["state"].to_dict()
    (key,) = states.keys() - {finished}
    assert states == {finished: "complete", key: "being made"}
    assert delete_stores(tmp_path / "cache", ["all"]) == [finished]
    with pytest.raises(ValueError, match=rf"store '{key}' is in use by another process"):
        delete_stores(tmp_path / "cache", [key])
    assert folders(tmp_path) == [key]


def run_main(capsys, tmp_path, *arguments):
    run("cache", [*arguments, f"data.cache_dir={tmp_path / 'cache'}"])
    return capsys.readouterr().out


def test_the_command_lists_and_deletes(tiny_root, pack, start_packing, capsys, tmp_path):
    missing = "there is no such folder, so nothing is kept there"
    assert run_main(capsys, tmp_path) == f"{tmp_path}/cache\n{missing}\n"
    process = start_packing(60)
    process.kill()
    process.wait()
    key = pack(tiny_root, fit="squash").shards.folder.name
    listed = run_main(capsys, tmp_path, "list")
    assert re.search(rf"{key} +photos +120 +16 +0 +\d+\.\d kB +complete", listed)
    assert re.search(r"\w{16} +photos +32 +16 +0 +\d+\.\d kB +unfinished", listed)
    deleted = run_main(capsys, tmp_path, "delete", key)
    assert deleted.startswith("deleted 1 store\n")
    assert key not in deleted
    deleted = run_main(capsys, tmp_path, "delete", "all")
    assert deleted == f"deleted 1 store\n{tmp_path}/cache\nno stores\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["delete", "abc"], "There is no store 'abc' in"), (["delete"], "delete needs the KEY of")],
)
def test_a_wrong_command_ends_with_its_reason(arguments, message, capsys, tmp_path):
    with pytest.raises(SystemExit, match=message):
        run_main(capsys, tmp_path, *arguments)


def test_python_m_fashion_store_runs(tiny_root, pack, tmp_path):
    key = pack(tiny_root).shards.folder.name
    command = [
        sys.executable,
        "-m",
        "fashion",
        "cache",
        f"data.cache_dir={tmp_path / 'cache'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert key in done.stdout
