"""Locks between processes that share a folder: taken alone to make or delete, held to read.

A lock to make something is a file beside it, which whoever gives the lock back deletes. Who reads
for long holds one of the files that it reads. Where the disk has no locks, what is made is made
without any.
"""

import errno
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows, which deletes no file that is open
    fcntl = None  # type: ignore[assignment]

HELD = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}  # by another process
log = logging.getLogger(__name__)


class NoLocksError(OSError):
    """The disk has no locks, or lets nobody but another user take this one."""


@contextmanager
def alone(path: Path, what: str) -> Iterator[bool]:
    """Be the only process that makes what is at a path, after the one that is at it.

    Args:
        path: In a folder that can be written.
        what: What others wait for, to be said.

    Yields:
        Whether others are kept out; they aren't on a disk without locks.
    """
    lock = _Lock(path)
    try:
        if not lock.take(wait=False):
            log.info("Another process is making %s; waiting for it.", what)
            lock.take(wait=True)
    except NoLocksError as error:
        log.warning("%s can't be locked (%s); other processes may make it, too.", path, error)
        yield False
        return
    try:
        yield True
    finally:
        lock.give_back()


@contextmanager
def unless_used(path: Path, held: Iterable[Path]) -> Iterator[bool]:
    """Keep others from making or reading what is at a path, if nobody does.

    Args:
        path: In a folder that is there.
        held: The files that who reads it holds.

    Yields:
        Whether nobody did.

    Raises:
        NoLocksError: Nobody can tell.
    """
    lock = _Lock(path)
    with ExitStack() as stack:
        is_free = lock.take(wait=False)
        if is_free:
            stack.callback(lock.give_back)
        yield is_free and all(_claim(file, stack) for file in held)


def _claim(path: Path, stack: ExitStack) -> bool:
    """Have a file alone until the stack is left, if it is there, and return whether nobody has."""
    if fcntl is None or not path.is_file():
        return True
    descriptor = _open(path, os.O_RDWR)
    try:
        if not _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, path):
            raise NoLocksError("its disk has no locks")
    except BlockingIOError:
        return False
    stack.callback(os.close, descriptor)
    return True


def is_being_made(path: Path) -> bool:
    """Return whether a process is making what is at a path; nothing is written to find out."""
    lock = _Lock(path)
    if not lock.path.is_file():
        return False
    if fcntl is None:
        is_free = lock.take(wait=False)
        if is_free:
            lock.give_back()
        return not is_free
    try:
        descriptor = hold(lock.path)
    except BlockingIOError:
        return True
    if descriptor is not None:
        os.close(descriptor)
    return False


def hold(path: Path) -> int | None:
    """Hold a file that is there, beside others who do, until the descriptor is closed.

    Returns:
        The descriptor, or None where there are no locks, or no file.

    Raises:
        BlockingIOError: Another process has it alone: it is being deleted.
    """
    if fcntl is None:
        return None
    while True:
        descriptor = None
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
        if descriptor is None or not _flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, path):
            return None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)


class _Lock:
    """A lock that one process has, on a file that it deletes when it gives it back."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.lock")
        self.descriptor = -1
        self.elsewhere = FileLock(self.path) if fcntl is None else None

    def take(self, *, wait: bool) -> bool:
        """Take it and return whether it was to be had."""
        if self.elsewhere is not None:
            try:
                self.elsewhere.acquire(timeout=-1 if wait else 0)
            except Timeout:
                return False
            return True
        while True:
            was_there = self.path.exists()
            descriptor = _open(self.path, os.O_RDWR | os.O_CREAT)
            try:
                kind = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
                if not _flock(descriptor, kind, self.path):
                    if not was_there:
                        self.path.unlink(missing_ok=True)
                    raise NoLocksError("its disk has no locks")
            except BlockingIOError:
                return False
            if _is_at(descriptor, self.path):
                self.descriptor = descriptor
                return True
            os.close(descriptor)  # whoever had it has deleted the file

    def give_back(self) -> None:
        """Let others have it."""
        if self.elsewhere is not None:
            self.elsewhere.release()
        with suppress(OSError):
            self.path.unlink()
        if self.elsewhere is None:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)  # forked workers have the descriptor, too
            os.close(self.descriptor)


def _open(path: Path, flags: int) -> int:
    """Open a file for a lock, another user's for reading alone, which most disks lock as well."""
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        with suppress(OSError):
            return os.open(path, os.O_RDONLY)
        raise NoLocksError(error.errno, error.strerror) from error


def _flock(descriptor: int, kind: int, path: Path) -> bool:
    """Lock an open file and return True, or close it: False where the disk has no locks.

    Raises:
        BlockingIOError: Another process has it.
    """
    try:
        fcntl.flock(descriptor, kind)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError) and error.errno in HELD:
            raise BlockingIOError(error.errno, f"another process has {path}") from error
        if isinstance(error, OSError):
            return False
        raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
