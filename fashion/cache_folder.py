"""A cache folder that users share: what is said where it can't be written or is damaged."""

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT}


class DamagedError(ValueError):
    """Something in the cache that isn't as it was written; it counts as absent."""


def make_folder(cache_dir: Path, kind: str = ".", reason: str = "") -> None:
    """Make the folder of a kind of things where it is missing, and try to write into it.

    Raises:
        OSError: It can't be written; the sentence names the way out.
    """
    with writing(cache_dir, reason):
        (cache_dir / kind).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache_dir / kind).close()


@contextmanager
def writing(cache_dir: Path, reason: str = "") -> Iterator[None]:
    """Have an error of writing below a cache folder end in a sentence that names the way out.

    Args:
        cache_dir: The folder.
        reason: A sentence that says why it is written.
    """
    try:
        yield
    except OSError as error:
        key, why = f"data.cache_dir={str(cache_dir)!r}", error.strerror or str(error)
        way_out = "Pass data.cache_dir=FOLDER, one that you may write to."
        said = f"{key} can't be written ({why}). {way_out}"
        if error.errno in FULL:
            way_out = "Pass data.cache_dir=FOLDER on a larger disk, or delete stores"
            said = f"{key}: the disk is full ({why}). {way_out} (fashion cache)."
        raise OSError(f"{reason} {said}".lstrip()) from error


@contextmanager
def reading(cache_dir: Path) -> Iterator[None]:
    """Have an error of reading below a cache folder end in a sentence that names the way out."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"data.cache_dir={str(cache_dir)!r} can't be read ({error.strerror or error}: "
            f"{error.filename}). Pass data.cache_dir=FOLDER, one of your own."
        ) from error


def remove(path: Path) -> None:
    """Delete a file, or a folder with all that is in it; what isn't there need not be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
