"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all."""
    with replacing(path) as file:
        file.write(content if isinstance(content, bytes) else content.encode())


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
