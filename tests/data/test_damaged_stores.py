"""What a cleaner, a full disk or a broken copy leaves of a store, and who may write where."""

import dataclasses
import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fashion import shards
from fashion.catalogue.images import decode_image
from fashion.catalogue.root import open_root
from fashion.catalogue.table import load_catalogue
from fashion.commands.main import run
from fashion.data import photo_store as store_module
from fashion.data.cache import delete_stores, list_stores
from fashion.data.photo_store import open_store
from fashion.shards import INDEX, SHARD, UNFINISHED
from fashion.twins import groups as groups_module
from fashion.twins.groups import find_twins

PIXELS = "photo.bin"


def photos_of(store):
    return store.take(np.arange(len(store)))


@pytest.fixture(scope="module")
def catalogue(tiny_root):
    root = open_root(tiny_root)
    return root, load_catalogue(root, min_images=10).table


@pytest.fixture(scope="module")
def packed(catalogue, tmp_path_factory):
    """A cache that holds the photos of the tiny catalogue, and its twins."""
    cache_dir = tmp_path_factory.mktemp("packed")
    open_store(*catalogue, 16, "pad", "bilinear", cache_dir)
    find_twins(*catalogue, cache_dir)
    return cache_dir


@pytest.fixture
def cache(packed, tmp_path):
    return shutil.copytree(packed, tmp_path / "cache")


@pytest.fixture
def pack(catalogue, cache):
    """Returns pack(), which opens the store of the cache."""
    return lambda cache_dir=cache: open_store(*catalogue, 16, "pad", "bilinear", cache_dir)


@pytest.fixture(scope="module")
def photos(catalogue, packed):
    return photos_of(open_store(*catalogue, 16, "pad", "bilinear", packed))


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
def nothing_is_made(monkeypatch):
    for module, name in ((store_module, "decode_image"), (groups_module, "group_photos")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("made again"))


def store_of(cache_dir):
    (folder,) = (path for path in (cache_dir / "photos").iterdir() if path.suffix != ".lock")
    return folder


def twins_of(cache_dir):
    (path,) = (cache_dir / "twins").iterdir()
    return path


def put_a_folder(path):
    path.unlink()
    (path / "inner").mkdir(parents=True)


def put_a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("a file")


DAMAGES = {
    "shortened": lambda folder: os.truncate(folder / "00000" / PIXELS, 1000),
    "no photos": lambda folder: (folder / "00000" / PIXELS).unlink(),
    "half an index": lambda folder: os.truncate(folder / "00000" / SHARD, 20),
    "no index of the store": lambda folder: (folder / INDEX).unlink(),
    "half an index of the store": lambda folder: os.truncate(folder / INDEX, 20),
    "one of an earlier release": lambda folder: (folder / INDEX).write_text(
        '{"photos": 120, "input_size": 16, "unreadable": {}}'
    ),
    "a file for the folder": put_a_file,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_packed_again(damage, pack, cache, photos, caplog, decoded):
    DAMAGES[damage](store_of(cache))
    state = list_stores(cache).set_index("kind").loc["photos", "state"]
    nothing_says_what_it_was = damage in ("no index of the store", "a file for the folder")
    assert state == ("unfinished" if nothing_says_what_it_was else "damaged")
    np.testing.assert_array_equal(photos_of(pack()), photos)
    is_lost = "of the store" not in damage and "earlier" not in damage
    assert len(decoded) == 120 * is_lost
    if is_lost:
        assert list_stores(cache)["state"].tolist() == ["complete"] * 3
    if is_lost and "file" not in damage:
        assert f"The store {store_of(cache)} is damaged (00000: " in caplog.text
    np.testing.assert_array_equal(photos_of(pack()), photos)
    assert caplog.text.count("is damaged") <= 1


def save(path, **arrays):
    with path.open("wb") as file:
        np.savez(file, **arrays)


GROUPS, DISTANCES = np.full(120, -1), np.zeros(120)
TWIN_DAMAGES = {
    "shortened": lambda path: os.truncate(path, 50),
    "cut near its end": lambda path: os.truncate(path, path.stat().st_size - 3),
    "empty": lambda path: os.truncate(path, 0),
    "no archive": lambda path: path.write_text("no archive"),
    "a single array": lambda path: np.save(path.open("wb"), GROUPS),
    "a folder": put_a_folder,
    "one array alone": lambda path: save(path, groups=GROUPS),
    "of other photos": lambda path: save(path, groups=GROUPS[:9], distances=DISTANCES[:9]),
    "of another shape": lambda path: save(path, groups=GROUPS[None], distances=DISTANCES[None]),
    "words": lambda path: save(path, groups=GROUPS.astype(str), distances=DISTANCES),
    "objects": lambda path: save(path, groups=GROUPS.astype(object), distances=DISTANCES),
}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of the damage's own
@pytest.mark.parametrize("damage", TWIN_DAMAGES.values(), ids=TWIN_DAMAGES)
def test_damaged_twins_are_found_again(damage, catalogue, cache, caplog, monkeypatch):
    damage(twins_of(cache))
    found = []

    def group_photos(thumbnails):
        found.append(len(thumbnails))
        return GROUPS, DISTANCES

    monkeypatch.setattr(groups_module, "group_photos", group_photos)
    for _ in range(2):
        assert find_twins(*catalogue, cache).empty
    assert found == [120]
    assert caplog.text.count(f"The twins in {twins_of(cache)} are damaged (") == 1
    assert list_stores(cache)["state"].tolist() == ["complete"] * 3


def test_what_is_complete_is_read_without_a_lock(pack, catalogue, cache, monkeypatch, photos):
    def refuse(descriptor, kind):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    before = sorted(cache.rglob("*"))
    np.testing.assert_array_equal(photos_of(pack()), photos)
    find_twins(*catalogue, cache)
    assert sorted(cache.rglob("*")) == before


def test_on_a_disk_without_locks_it_is_packed_all_the_same(
    pack, tmp_path, monkeypatch, photos, caplog
):
    def refuse(descriptor, kind):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(fcntl, "flock", refuse)
    elsewhere = tmp_path / "elsewhere"
    np.testing.assert_array_equal(photos_of(pack(elsewhere)), photos)
    assert "can't be locked" in caplog.text
    assert not [path for path in elsewhere.rglob("*") if path.suffix in (".lock", UNFINISHED)]
    with pytest.raises(OSError, match=r"stays: its disk has no locks, so nobody can tell"):
        delete_stores(elsewhere, ["all"])
    np.testing.assert_array_equal(photos_of(pack(elsewhere)), photos)


def test_two_that_pack_at_once_without_locks_have_the_same_photos(
    pack, tmp_path, monkeypatch, photos
):
    monkeypatch.setattr(
        fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks"))
    )
    meeting = threading.Barrier(2, timeout=60)
    pack_all = store_module._pack

    def pack_together(*arguments):
        meeting.wait()
        pack_all(*arguments)
        meeting.wait()

    monkeypatch.setattr(store_module, "_pack", pack_together)
    stores = []
    threads = [
        threading.Thread(target=lambda: stores.append(pack(tmp_path / "both"))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(stores) == 2
    for store in (*stores, pack(tmp_path / "both")):
        np.testing.assert_array_equal(photos_of(store), photos)


@pytest.fixture
def shared(packed):
    """A copy of the cache that any user may read, and its owner alone may write."""
    folder = Path(tempfile.mkdtemp())
    cache = shutil.copytree(packed, folder / "cache")
    for path in (folder, cache):
        path.chmod(0o755)
    yield cache
    shutil.rmtree(folder)


@contextmanager
def another_user():
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("nothing_is_made")
def test_a_second_user_reads_what_a_first_one_packed(shared, catalogue, photos):
    (store_of(shared).with_name(f"{store_of(shared).name}.lock")).touch(
        0o600
    )  # an earlier release's
    root, table = catalogue
    root = with_known_stamps(root, table)
    with another_user():
        store = open_store(root, table, 16, "pad", "bilinear", shared)
        np.testing.assert_array_equal(photos_of(store), photos)
        find_twins(root, table, shared)
        assert list_stores(shared)["state"].tolist() == ["complete"] * 3
        with pytest.raises(OSError, match=r"The store .* can't be deleted \(Permission denied\)"):
            delete_stores(shared, ["all"])
        np.testing.assert_array_equal(photos_of(store), photos)


def with_known_stamps(root, table):
    """Return a root whose stamps are known, for other users may not look into a test's folder."""
    stamps = {photo: root.stamp(photo) for photo in table["photo"]}
    return dataclasses.replace(root, stamp=stamps.__getitem__)


def test_what_another_user_may_not_write_ends_in_a_sentence(shared, catalogue):
    store, twins = store_of(shared), twins_of(shared)
    os.truncate(store / "00000" / PIXELS, 1000)
    os.truncate(twins, 50)
    way_out = "Pass data.cache_dir=FOLDER, one that you may write to."
    told = f"data.cache_dir='{shared}' can't be written (Permission denied). {way_out}"
    root, table = catalogue
    root = with_known_stamps(root, table)
    with another_user():
        with pytest.raises(OSError, match="damaged") as caught:
            open_store(root, table, 16, "pad", "bilinear", shared)
        assert str(caught.value) == (
            f"The store {store} is damaged (00000: {PIXELS} has 1,000 bytes, not 92,160), so that "
            f"is made again. {told}"
        )
        with pytest.raises(OSError, match="damaged") as caught:
            find_twins(root, table, shared)
        assert str(caught.value).startswith(f"The twins in {twins} are damaged (")
        assert str(caught.value).endswith(told)
        with pytest.raises(OSError, match="can't be written") as caught:
            open_store(root, table, 17, "pad", "bilinear", shared)
        assert str(caught.value) == told


def test_a_store_that_another_user_may_not_read_is_told(shared, catalogue):
    (store_of(shared) / "00000" / SHARD).chmod(0o600)
    root, table = catalogue
    message = r"data\.cache_dir=.* can't be read \(Permission denied: .*shard\.json\)\. Pass data"
    root = with_known_stamps(root, table)
    with another_user(), pytest.raises(OSError, match=message):
        open_store(root, table, 16, "pad", "bilinear", shared)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_while_it_is_packed_leaves_nothing(
    number, pack, tmp_path, monkeypatch, photos
):
    written = []

    def write_until_full(file, content):
        written.append(len(content))
        if len(written) == 2:
            raise OSError(number, os.strerror(number))
        file.write(content)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_all", write_until_full)
        with pytest.raises(OSError, match=r"^data\.cache_dir='.*elsewhere': the disk is full"):
            pack(tmp_path / "elsewhere")
    assert [path.name for path in store_of(tmp_path / "elsewhere").iterdir()] == [INDEX]
    np.testing.assert_array_equal(photos_of(pack(tmp_path / "elsewhere")), photos)


def test_a_disk_that_is_full_when_twins_are_kept_leaves_nothing(catalogue, tmp_path, monkeypatch):
    def refuse(file, **arrays):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", refuse)
    with pytest.raises(OSError, match=r"^data\.cache_dir='.*': the disk is full"):
        find_twins(*catalogue, tmp_path)
    assert list((tmp_path / "twins").iterdir()) == []


HOLD = """
import sys
from pathlib import Path
from fashion.catalogue.root import open_root
from fashion.catalogue.table import load_catalogue
from fashion.data.photo_store import open_store
root = open_root(sys.argv[1])
table = load_catalogue(root, min_images=10).table
store = open_store(root, table, 16, "pad", "bilinear", Path(sys.argv[2]))
print("open", flush=True)
sys.stdin.read()
import numpy as np
print(int(store.take(np.arange(len(store))).astype(int).sum()))
"""


def test_a_store_that_a_run_has_open_is_not_deleted(tiny_root, cache, photos):
    key, twins = store_of(cache).name, twins_of(cache).stem
    (thumbnails,) = (path.name for path in (cache / "thumbnails").iterdir())
    command = [sys.executable, "-c", HOLD, str(tiny_root), str(cache)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as reader:
        assert reader.stdout.readline() == "open\n"
        with pytest.raises(ValueError, match=rf"'{key}' is in use by another process, so it stays"):
            delete_stores(cache, [key])
        assert delete_stores(cache, ["all"]) == [thumbnails, twins]
        reading, _ = reader.communicate("", timeout=60)
    assert int(reading) == photos.astype(int).sum()
    assert delete_stores(cache, ["all"]) == [key]


def test_all_leaves_no_lock_and_no_leftover(cache, capsys):
    key, twins = store_of(cache).name, twins_of(cache).name
    for name in (f"photos/{key}.lock", "photos/0123456789abcdef.lock", f"twins/.{twins}.9.part"):
        (cache / name).touch()
    (cache / "photos" / "notes.txt").write_text("mine")
    shutil.copytree(cache / "photos" / key, cache / "photos" / f"{key}.0a1b2c3d.unfinished")
    run("cache", ["delete", "all", f"data.cache_dir={cache}"])
    assert capsys.readouterr().out == f"deleted 3 stores\n{cache}\nno stores\n"
    left = [path for path in cache.rglob("*") if path.is_file()]
    assert left == [cache / "photos" / "notes.txt"]


def test_sizes_are_listed_in_units_that_fit(cache, capsys):
    run("cache", [f"data.cache_dir={cache}"])
    heading, photos, thumbnails, twins = capsys.readouterr().out.splitlines()[1:]
    assert heading.split()[-2:] == ["size", "state"]
    assert re.search(r" \d+\.\d kB complete$", photos)
    assert re.search(r" \d\.\d MB complete$", thumbnails)
    assert re.search(r" \d\.\d kB complete$", twins)
