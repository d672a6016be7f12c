import tempfile

import pytest

from fashion.jobs.slots import Slots, shared_folder


@pytest.fixture
def place(monkeypatch, tmp_path):
    """What stands in for the folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_who_made_the_numbers_sees_what_another_writes_to_them(tmp_path):
    ours = Slots.create(tmp_path / "slots", threads=3)
    theirs = Slots(tmp_path / "slots")
    theirs[0], theirs[2], theirs.finished = 0, 7, 5
    assert (ours.rows(), ours.finished) == ({0, 7}, 5)
    theirs[2] = None
    assert ours.rows() == {0}
    ours.clear()
    assert (theirs.rows(), theirs.finished) == (set(), 0)


def test_what_killed_processes_left_is_deleted_and_nothing_that_is_used(place):
    left, other = place / "fashion-label-0123", place / "something-else"
    for folder in (left, other):
        folder.mkdir()
        (folder / "numbers").write_bytes(bytes(8))
    (place / "fashion-label-0123.lock").touch()
    with shared_folder() as first:
        (first / "numbers").write_bytes(bytes(8))
        assert not left.exists()
        assert not left.with_name("fashion-label-0123.lock").exists()
        with shared_folder() as second:
            assert first != second
            assert (first / "numbers").exists()
        assert not second.exists()
        assert first.exists()
    assert [*place.iterdir()] == [other]
