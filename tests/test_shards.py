"""Records in shards: what was added is found, whatever cut it short or damaged it."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fashion import shards
from fashion.shards import INDEX, KEY, KEYS, SHARD, Field, ShardedStore, read_shard

FIELDS = (Field("photo", (4, 4, 3), "uint8"), Field("size", (2,), "int64"))


def records_of(numbers):
    """Return keys and arrays that can be told from each other."""
    numbers = np.asarray(numbers)
    keys = np.zeros((len(numbers), 2), np.int64)
    keys[:, 0] = numbers
    photos = np.broadcast_to(numbers[:, None, None, None], (len(numbers), 4, 4, 3))
    arrays = {"photo": photos.astype(np.uint8), "size": np.stack([numbers, -numbers], axis=1)}
    return keys.view(KEY)[:, 0], arrays


@pytest.fixture
def open_(tmp_path):
    return lambda: ShardedStore(tmp_path / "photos" / "0123456789abcdef", FIELDS, {"kind": "test"})


def add(store, *batches):
    with store.adding() as adder:
        for numbers in batches:
            adder.add(*(records_of(numbers) if numbers else interrupt()))


def interrupt():
    raise KeyboardInterrupt


def check(store, numbers):
    """Each record is found, and is the one that was added."""
    keys, arrays = records_of(numbers)
    places = store.find(keys)
    for name, wanted in arrays.items():
        np.testing.assert_array_equal(store.take(name, places), wanted)
        out = np.empty_like(wanted)
        assert store.take(name, places, out) is out
        np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("large", [1, 10_000], ids=["one by one", "together"])
@pytest.mark.parametrize("per_shard", [3, 100])
def test_records_are_found_in_any_order_across_shards(open_, monkeypatch, per_shard, large):
    monkeypatch.setattr(shards, "MAX_RECORDS", per_shard)
    monkeypatch.setattr(shards, "LARGE", large)
    store = open_()
    add(store, [5, 200, 7], [1], [2, 9])
    add(store, [100])
    for each in (store, open_(), pickle.loads(pickle.dumps(store))):
        assert len(each) == 7
        check(each, [100, 5, 2, 2, 9, 1, 7, 200])
        assert each.find(records_of([3, 5, 101])[0]).tolist()[::2] == [-1, -1]


def test_an_empty_store_holds_nothing_and_writes_nothing(open_, tmp_path):
    store = open_()
    assert len(store) == 0
    assert store.find(records_of([1, 2])[0]).tolist() == [-1, -1]
    with pytest.raises(IndexError, match="There is no place 0 among 0"):
        store.take("photo", np.array([0]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("places", [[7], [-1], [0, 10**9]])
def test_a_place_that_is_not_there_is_an_error(open_, places):
    store = open_()
    add(store, [5, 200, 7])
    with pytest.raises(IndexError, match=r"There is no place -?\d+ among 3"):
        store.take("photo", np.array(places))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells")
def test_what_was_read_and_released_does_not_stay_in_memory(tmp_path):
    def resident():
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))

    store = ShardedStore(tmp_path / "photos" / "key", [Field("photo", (2**20,), "uint8")], {})
    with store.adding() as adder:
        keys, _ = records_of(range(40))
        adder.add(keys, {"photo": np.ones((40, 2**20), np.uint8)})
    before = resident()
    for place in range(40):
        assert store.take("photo", np.array([place])).all()
    assert resident() - before >= 40 * 2**20
    store.release("photo")
    assert resident() - before < 2**20
    assert store.take("photo", np.array([7])).all()


def test_a_worker_gets_neither_keys_nor_photos(open_):
    store = open_()
    add(store, range(200))
    check(store, range(200))
    assert len(pickle.dumps(store)) < 2_000


def test_notes_stay_with_their_records(open_, monkeypatch):
    monkeypatch.setattr(shards, "MAX_RECORDS", 2)
    store = open_()
    with store.adding() as adder:
        adder.add(*records_of([1, 2]))
        adder.add(*records_of([3]), {0: "no photo"})
        adder.add(*records_of([4, 5]), {1: "empty"})
    for each in (store, open_()):
        assert each.notes == {2: "no photo", 4: "empty"}


def test_what_was_added_before_an_error_stays(open_):
    store = open_()
    with pytest.raises(KeyboardInterrupt):
        add(store, [1, 2], None)
    check(store, [1, 2])
    check(open_(), [1, 2])


def test_half_a_record_that_an_interruption_left_is_cut_off(open_, monkeypatch):
    store, write_all = open_(), shards.write_all
    written = []

    def interrupted(file, content):
        written.append(file)
        write_all(file, content[:20] if len(written) == 4 else content)
        return len(written) == 4 and interrupt()

    monkeypatch.setattr(shards, "write_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add(store, [1, 2], [3])
    assert len(written) == 4
    check(open_(), [1, 2])
    assert open_().damage == {}


def put_a_folder(path):
    path.unlink()
    path.mkdir()


def index_with(**changes):
    def change(shard):
        index = json.loads((shard / SHARD).read_text())
        (shard / SHARD).write_text(json.dumps({**index, **changes}))

    return change


def put_a_file(shard):
    shutil.rmtree(shard)
    shard.write_text("a file")


DAMAGES = {
    "shortened": lambda shard: os.truncate(shard / "photo.bin", 50),
    "one byte short": lambda shard: os.truncate(shard / "size.bin", 31),
    "longer": lambda shard: os.truncate(shard / "size.bin", 33),
    "empty": lambda shard: os.truncate(shard / "photo.bin", 0),
    "a field is gone": lambda shard: (shard / "photo.bin").unlink(),
    "keys are gone": lambda shard: (shard / KEYS).unlink(),
    "a key too many": lambda shard: (shard / KEYS).write_bytes(bytes(48)),
    "a folder for a field": lambda shard: put_a_folder(shard / "photo.bin"),
    "a broken link": lambda shard: (
        (shard / KEYS).unlink(), (shard / KEYS).symlink_to("nowhere")
    ),
    "no index": lambda shard: (shard / SHARD).unlink(),
    "half an index": lambda shard: os.truncate(shard / SHARD, 9),
    "binary index": lambda shard: (shard / SHARD).write_bytes(bytes(range(256))),
    "a folder for the index": lambda shard: put_a_folder(shard / SHARD),
    "a list for an index": lambda shard: (shard / SHARD).write_text("[]"),
    "an index of nothing": lambda shard: (shard / SHARD).write_text("{}"),
    "other records": index_with(records=3),
    "words for numbers": index_with(records="2"),
    "true for a number": index_with(records=True),
    "less than nothing": index_with(records=-2),
    "a list of notes": index_with(notes=["0"]),
    "a number for a note": index_with(notes={"0": 1}),
    "a note of no record": index_with(notes={"2": "empty"}),
    "a note of no place": index_with(notes={"first": "empty"}),
    "nothing in it": lambda shard: [path.unlink() for path in shard.iterdir()],
    "a file for the folder": put_a_file,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_shard_counts_as_absent_and_the_others_stay(damage, open_, monkeypatch):
    monkeypatch.setattr(shards, "MAX_RECORDS", 2)
    add(open_(), [1, 2], [3, 4], [5])
    damage(open_().folder / "00001")
    store = open_()
    check(store, [1, 2, 5])
    assert store.find(records_of([3, 4])[0]).tolist() == [-1, -1]
    assert list(store.damage) == ["00001"]
    add(store, [3, 4])
    for each in (store, open_()):
        check(each, [1, 2, 3, 4, 5])
        assert each.damage == {}


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"kind": "other"}'])
def test_a_damaged_index_is_written_again_and_the_records_stay(open_, content):
    add(open_(), [1, 2])
    index = open_().folder / INDEX
    before = index.read_bytes()
    index.unlink()
    if content is not None:
        index.write_bytes(content)
    check(open_(), [1, 2])
    add(open_(), [3])
    assert index.read_bytes() == before
    check(open_(), [1, 2, 3])


def test_a_file_in_the_place_of_a_store_makes_way(open_):
    folder = open_().folder
    folder.parent.mkdir()
    folder.write_text("a file")
    add(open_(), [1, 2])
    check(open_(), [1, 2])


ADD = """
import os, sys
from pathlib import Path
import numpy as np
from fashion import shards
shards.MAX_RECORDS = 2
sys.path.insert(0, sys.argv[2])
from test_shards import FIELDS, records_of
store = shards.ShardedStore(Path(sys.argv[1]), FIELDS, {"kind": "test"})
with store.adding() as adder:
    for numbers in ([1, 2], [3]):
        adder.add(*records_of(numbers))
    print("stopped", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_leaves_whole_shards_and_no_others(open_):
    folder = open_().folder
    command = [sys.executable, "-c", ADD, str(folder), os.path.dirname(__file__)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout.readline() == "stopped\n"
        os.kill(process.pid, signal.SIGKILL)
    store = open_()
    check(store, [1, 2])
    assert store.find(records_of([3])[0]).tolist() == [-1]
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [
        "00000", "00001.unfinished"
    ]  # fmt: skip
    add(store, [3])
    check(open_(), [1, 2, 3])
    assert [path.name for path in shards.shard_folders(folder)] == ["00000", "00001"]
    assert not list(folder.glob("*.unfinished"))


def test_who_waits_for_another_finds_what_that_one_added(open_):
    stores, seen, meeting = [open_(), open_()], [], threading.Barrier(2, timeout=60)

    def add_what_is_absent(store):
        meeting.wait()
        with store.adding() as adder:
            keys, arrays = records_of([1, 2, 3])
            absent = store.find(keys) < 0
            seen.append(int(absent.sum()))
            if absent.any():
                adder.add(keys, arrays)

    threads = [threading.Thread(target=add_what_is_absent, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(seen) == [0, 3]
    for store in stores:
        check(store, [1, 2, 3])


def test_a_record_of_another_shape_is_refused(open_):
    keys, arrays = records_of([1, 2])
    store = open_()
    with pytest.raises(ValueError, match="photo has the shape"), store.adding() as adder:
        adder.add(keys, arrays | {"photo": np.zeros((2, 4, 4), np.uint8)})
    assert len(open_()) == 0


def test_sizes_are_not_taken_from_the_file_alone(open_):
    add(open_(), [1, 2])
    shard = open_().folder / "00000"
    assert read_shard(shard, FIELDS).records == 2
    assert read_shard(shard).records == 2
