"""Files that are written whole or not at all."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import IO

WRITTEN = ".written.sha256"  # in a folder: what `rewriting` wrote there, as sha256sum lists files


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all."""
    with replacing(path) as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def write_all(file: FileIO, content: memoryview) -> None:
    """Write to a file without a buffer, whose errors therefore come at once."""
    left = content.cast("B")
    while left:
        left = left[file.write(left) :]


def size_text(num_bytes: float) -> str:
    """Return a size in the unit that suits it, as `13.9 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 999.95 or unit == "GB":
            break
        num_bytes /= 1000
    return f"{num_bytes:.0f} bytes" if unit == "bytes" else f"{num_bytes:,.1f} {unit}"


def cannot_write(folder: Path, error: OSError) -> str:
    """Say that a folder of results can't be written, and what to pass."""
    return (
        f"{str(folder)!r} can't be written ({error.strerror or error}). Pass an output_dir (of a "
        "run: hydra.run.dir) that you may write to."
    )


@contextmanager
def replacing(path: Path, *, alone: bool = False) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` only once it is complete.

    Args:
        path: Its folder exists.
        alone: No other process writes it, so that what a killed one left is written over.
    """
    part = path.with_name(f".{path.name}.part" if alone else f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def rewriting(folder: Path) -> Iterator[Callable[[str, str | bytes], None]]:
    """Write a folder's files anew, and in the end delete what earlier ones of them are left.

    Only a file that was written here, and is as it was written, is deleted. Nothing is when an
    error ends the block.

    Args:
        folder: Made when missing.

    Yields:
        Writes a file, whole or not at all, from its name relative to the folder and its content.

    Raises:
        OSError: The folder can't be written.
    """
    record = folder / WRITTEN
    try:
        folder.mkdir(parents=True, exist_ok=True)
        record.open("a").close()
    except OSError as error:
        raise OSError(cannot_write(folder, error)) from error
    before = record.read_text("utf-8", "replace").splitlines() if record.is_file() else []
    written: dict[str, str] = {}

    def write(name: str, content: str | bytes) -> None:
        raw = content if isinstance(content, bytes) else content.encode()
        written[name] = f"{hashlib.sha256(raw).hexdigest()}  {name}"
        with record.open("a", encoding="utf-8") as lines:  # before the file, should this be killed
            lines.write(f"{written[name]}\n")
        (folder / name).parent.mkdir(exist_ok=True)
        write_file(folder / name, raw)

    yield write
    for line in before:
        digest, _, name = line.partition("  ")
        if name not in written:
            _delete_if_unchanged(folder, name, digest)
    write_file(record, "".join(f"{line}\n" for line in written.values()))


def _delete_if_unchanged(folder: Path, name: str, digest: str) -> None:
    path = folder / name
    stays_inside = ".." not in path.parts and path.is_relative_to(folder)
    if stays_inside and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
        path.unlink()
