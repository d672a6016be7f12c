"""Where a bundle goes: it is there only once it is whole, and takes the place of a bundle alone."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fashion.bundles.bundle_files import BundleFiles
from fashion.locks import NoLocksError, unless_used


def check_place(output: Path, *, overwrite: bool) -> None:
    """Check that a bundle may be written somewhere.

    Args:
        output: Where.
        overwrite: Whether an older bundle may be there.

    Raises:
        FileNotFoundError: There is no folder to write it into.
        ValueError: Something else is there, or an older bundle that may not be replaced.
    """
    told = f"output={str(output)!r}"
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"{told}: there is no folder {output.absolute().parent}.")
    if not output.exists() and not output.is_symlink():
        return
    if not overwrite:
        raise ValueError(f"{told} exists; pass another, or overwrite=true if it is a bundle.")
    if not output.is_dir() or output.is_symlink():
        raise ValueError(f"{told} is no folder, which overwrite=true could replace; pass another.")
    files = BundleFiles(output, "output")  # raises where it is none
    others = sorted({*files.names()} - {*files.manifest.files})
    if others:
        raise ValueError(
            f"{told} holds {others[0]!r}, which isn't the bundle's and would be lost; move it "
            "away, or pass another output."
        )


@contextmanager
def unfinished(output: Path) -> Iterator[Path]:
    """Have an empty folder beside a place, which takes the place when the block ends well.

    What a killed process has left in it is deleted.

    Raises:
        ValueError: Another process is at it.
        OSError: It can't be written.
    """
    output = output.absolute()
    folder = output.with_name(f".{output.name}.unfinished")
    with ExitStack() as stack:
        is_free = True
        with suppress(NoLocksError):  # then nobody can tell
            is_free = stack.enter_context(unless_used(folder, ()))
        if not is_free:
            raise ValueError(
                f"output={str(output)!r}: another process is writing it. Wait for its end, or pass "
                "another output."
            )
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder
        _move(folder, output)


def _move(folder: Path, output: Path) -> None:
    if output.exists():
        replaced = output.with_name(f".{output.name}.replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        output.rename(replaced)
        folder.rename(output)
        shutil.rmtree(replaced)
    else:
        folder.rename(output)
