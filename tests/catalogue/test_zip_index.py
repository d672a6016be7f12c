import os
import random
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fashion.catalogue import zip_index
from fashion.catalogue.archives import Archive
from fashion.catalogue.root import open_root
from fashion.data.cache import delete_stores, list_stores

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A zip of files packed in every way, hidden and repeated ones among them."""
    monkeypatch.setattr(zip_index, "LEAST", 1)
    draw = random.Random(0)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(40):
            name = f"{draw.choice(['a', 'b/c', 'Ténis'])}/{number}.jpg"
            content = draw.randbytes(draw.randrange(3000)) + bytes(draw.randrange(9000))
            archive.writestr(name, content, draw.choice(METHODS))
        archive.writestr("a/.hidden.jpg", b"hidden")
        archive.writestr("a//0.txt", b"old")
        archive.writestr("a\\0.txt", b"new")
        link = zipfile.ZipInfo("a/link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "0.jpg")
    return tmp_path / "a.zip"


@pytest.fixture
def never_parsed(monkeypatch):
    """Has a zip's directory be read no more, once it is called."""

    def forbid(*_):
        raise AssertionError("the directory was read again")

    return lambda: monkeypatch.setattr(zip_index, "make_index", forbid)


def told(archive):
    names = list(archive.names())
    facts = [(name, archive.stamp(name), archive.read(name)) for name in names]
    return facts, archive.passed_over, archive.strange_names, archive.unreadable()


def test_a_zip_says_the_same_from_its_index(path, tmp_path, never_parsed):
    plain, first = Archive(path), Archive(path, cache_dir=tmp_path / "cache")
    never_parsed()
    again = Archive(path, cache_dir=tmp_path / "cache")
    assert told(plain) == told(first) == told(again)
    assert again.passed_over == {
        "a/.hidden.jpg": "hidden or a system's",
        "a/0.txt": "in the zip twice; the last is taken",
        "a/link.jpg": "links in a zip",
    }
    assert again.holds("a/link.jpg")
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert again.read("a/0.txt") == b"new"
    for name in again.names():
        assert again.read(name) == contents.get(name, b"new")
        assert again.open(name).read() == again.read(name)


def test_any_number_of_threads_read_at_once(path):
    archive = Archive(path)
    names = [*archive.names()] * 20
    expected = {name: archive.read(name) for name in names}
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(archive.read, names)) == [expected[name] for name in names]


def test_a_zip_that_moved_keeps_its_index_and_one_that_changed_gets_another(
    path, tmp_path, never_parsed
):
    Archive(path, cache_dir=tmp_path / "cache")
    Archive(path, "cp866", tmp_path / "cache")
    assert len([*(tmp_path / "cache" / "zips").iterdir()]) == 2
    never_parsed()
    moved = path.rename(tmp_path / "b.zip")
    Archive(moved, cache_dir=tmp_path / "cache")
    status, content = moved.stat(), bytearray(moved.read_bytes())
    content[-30] ^= 1  # of the same size, and said to be as old
    moved.write_bytes(content)
    os.utime(moved, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(AssertionError, match="read again"):
        Archive(moved, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("fault", ["cut", "flipped", "empty", "other", "folder"])
def test_a_damaged_index_is_made_again(path, tmp_path, fault):
    expected = told(Archive(path, cache_dir=tmp_path / "cache"))
    (kept,) = (tmp_path / "cache" / "zips").iterdir()
    whole = kept.read_bytes()
    if fault == "folder":
        kept.unlink()
        kept.mkdir()
    elif fault == "other":
        np.savez(kept, entries=np.zeros(3), names=np.zeros(3, np.uint8))
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        kept.write_bytes({"cut": whole[:middle], "flipped": flipped, "empty": b""}[fault])
    assert list_stores(tmp_path / "cache")["state"].tolist() == ["damaged"]
    assert told(Archive(path, cache_dir=tmp_path / "cache")) == expected
    if fault != "folder":
        assert list_stores(tmp_path / "cache")["state"].tolist() == ["complete"]


def test_no_byte_that_changes_in_an_index_goes_unseen(path, tmp_path):
    archive = Archive(path, cache_dir=tmp_path / "cache")
    (kept,) = (tmp_path / "cache" / "zips").iterdir()
    whole, draw = kept.read_bytes(), random.Random(1)
    expected = list(archive.names())
    for place in draw.sample(range(len(whole)), 200):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = Archive(path, cache_dir=tmp_path / "cache")
        assert list(found.names()) == expected
        assert [found.stamp(name) for name in expected] == list(map(archive.stamp, expected))


def test_a_cache_that_cant_be_written_is_done_without(path, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file")
    with caplog.at_level("WARNING"):
        assert told(Archive(path, cache_dir=tmp_path / "cache")) == told(Archive(path))
    assert not caplog.records


def test_small_zips_and_unsafe_ones_are_not_kept(path, tmp_path, monkeypatch):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../out.jpg", b"")
    Archive(path, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(zip_index, "LEAST", 1000)
    Archive(path, "cp866", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_fashion_cache_lists_and_deletes_an_index(path, tmp_path):
    open_root(path, None, 1, cache_dir=tmp_path / "cache")
    stores = list_stores(tmp_path / "cache")
    assert stores[["kind", "photos", "state"]].to_numpy().tolist() == [["zips", 41, "complete"]]
    assert delete_stores(tmp_path / "cache", stores["key"].tolist()) == stores["key"].tolist()
    assert not [*(tmp_path / "cache" / "zips").iterdir()]


def damaged(path, place, value):
    content = bytearray(path.read_bytes())
    content[place : place + len(value)] = value
    path.write_bytes(content)
    return Archive(path)


def test_a_file_whose_header_the_directory_contradicts_is_refused(path):
    with zipfile.ZipFile(path) as archive:
        first = min(archive.infolist(), key=lambda info: info.header_offset)
    for place, value, message in (
        (0, b"XX", "Bad magic number"),
        (30, b"Z", "File name in directory and header differ"),
        (28, b"\xff\xff", "Overlapped entries"),
        (30 + len(first.filename.encode()), b"\xff\xfe\xfd", "Bad CRC-32|invalid|Corrupt|Invalid"),
    ):
        content = path.read_bytes()
        archive = damaged(path, first.header_offset + place, value)
        name = first.filename
        with pytest.raises(ValueError, match=f"damaged zip entry: .*({message})"):
            archive.read(name)
        with pytest.raises(OSError, match="damaged zip entry, fetch it again"):
            archive.open(name).read()
        path.write_bytes(content)
    assert Archive(path).read(first.filename)
