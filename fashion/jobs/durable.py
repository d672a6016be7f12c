"""Files of a job: written whole and kept on the disk, or not there; one sentence where they can't.

A file is there under its name only once all of it is on the disk, whoever is killed when.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

FULL = (errno.ENOSPC, errno.EDQUOT)
PART = ".part"  # how what is being written ends; its name begins with a dot


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` once it is complete and on the disk.

    Raises:
        OSError: It can't be written; the text says what to do.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    with told(path.parent):
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def write(path: Path, content: bytes) -> None:
    """Write a file; see `replacing`."""
    with replacing(path) as file:
        file.write(content)


def clear_parts(folder: Path) -> None:
    """Delete what killed processes were writing in a folder."""
    for part in folder.glob(f".*{PART}"):
        part.unlink(missing_ok=True)


class CannotWriteError(OSError):
    """A folder of a job can't be written; the text is for people."""


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Have an error of the disk say that a job's folder can't be written, and what to do."""
    try:
        yield
    except CannotWriteError:
        raise
    except OSError as error:
        way_out = "make room" if error.errno in FULL else "mend this"
        raise CannotWriteError(
            f"{str(folder)!r} can't be written ({error.strerror or error}). What is labelled is "
            f"kept: {way_out}, and type the same again to go on."
        ) from error
