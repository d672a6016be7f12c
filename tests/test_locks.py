import errno
import fcntl
import os
import threading

import pytest

from fashion import locks as locks_module
from fashion.locks import NoLocksError, alone, hold, is_being_made, unless_used


@pytest.fixture(params=["flock", "filelock"])
def locks(request, monkeypatch):
    """Both ways of locking: that of Unix, and that of Windows, which works here as well."""
    if request.param == "filelock":
        monkeypatch.setattr(locks_module, "fcntl", None)
    return request.param


def without_locks(monkeypatch, number):
    def refuse(descriptor, kind):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_one_makes_it_and_the_next_waits_and_says_so(locks, tmp_path, caplog):
    caplog.set_level("INFO")
    path, order, inside = tmp_path / "store", [], threading.Event()

    def second():
        with alone(path, "the store"):
            order.append("second")

    thread = threading.Thread(target=second)
    with alone(path, "the store") as is_alone:
        assert is_alone
        assert is_being_made(path)
        thread.start()
        inside.wait(0.3)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]
    assert caplog.messages == ["Another process is making the store; waiting for it."]
    assert not is_being_made(path)
    assert list(tmp_path.iterdir()) == []  # no lock is left behind


def test_many_at_once_come_one_after_the_other(tmp_path):
    """A lock's file is deleted whenever it is given back, and still no two have it."""
    path, inside, most = tmp_path / "store", [], []

    def work():
        for _ in range(20):
            with alone(path, "the store"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 120
    assert max(most) == 1


def test_an_error_inside_gives_the_lock_back(locks, tmp_path):
    def fail():
        with alone(tmp_path / "store", "the store"):
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert not is_being_made(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF])
def test_a_disk_without_locks_is_worked_on_without_any(number, tmp_path, monkeypatch, caplog):
    without_locks(monkeypatch, number)
    (tmp_path / "index").touch()
    with alone(tmp_path / "store", "the store") as is_alone:
        assert not is_alone
    assert "can't be locked" in caplog.text
    assert hold(tmp_path / "index") is None
    assert not is_being_made(tmp_path / "store")
    with pytest.raises(NoLocksError), unless_used(tmp_path / "store", []):
        pass


def test_who_holds_a_file_keeps_it_from_being_taken(tmp_path):
    path, index = tmp_path / "store", tmp_path / "index"
    index.touch()
    first, second = hold(index), hold(index)
    for held in (first, second):
        with unless_used(path, [index]) as is_free:
            assert not is_free
        os.close(held)
    with unless_used(path, [index, tmp_path / "absent"]) as is_free:
        assert is_free
        assert is_being_made(path)
        with pytest.raises(BlockingIOError):
            hold(index)
    os.close(hold(index))


def test_what_is_being_made_is_not_free(locks, tmp_path):
    with alone(tmp_path / "store", "it"), unless_used(tmp_path / "store", []) as is_free:
        assert not is_free
    with unless_used(tmp_path / "store", []) as is_free:
        assert is_free


def test_to_look_writes_nothing(tmp_path):
    assert not is_being_made(tmp_path / "store")
    (tmp_path / "store.lock").touch()  # as a killed process leaves it
    before = (tmp_path / "store.lock").stat().st_mtime_ns
    assert not is_being_made(tmp_path / "store")
    assert (tmp_path / "store.lock").stat().st_mtime_ns == before


def test_a_lock_that_a_killed_process_left_keeps_nobody_out(locks, tmp_path):
    (tmp_path / "store.lock").touch()
    with alone(tmp_path / "store", "the store") as is_alone:
        assert is_alone
    assert list(tmp_path.iterdir()) == []
