"""Pages and their pictures: each file whole or not at all, nothing fetched from a network."""

import base64
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure


def render(template: str, **context: Any) -> str:
    """Fill a template of `fashion/templates`; text is escaped, and `written` is the time."""
    environment = Environment(
        loader=PackageLoader("fashion"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template(template).render(written=written, **context)


def write_figures(figures: Mapping[str, Figure], folder: Path) -> dict[str, str]:
    """Write `NAME.png` for each figure, and return them in base64; other PNGs there are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.png"):
        if stale.stem not in figures:
            stale.unlink()
    written = {}
    for name, figure in figures.items():
        png = io.BytesIO()
        figure.savefig(png, format="png")
        write_file(folder / f"{name}.png", png.getvalue())
        written[name] = base64.b64encode(png.getvalue()).decode()
    return written


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all."""
    with replacing(path) as file:
        file.write(content if isinstance(content, bytes) else content.encode())


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` only once it is complete."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
