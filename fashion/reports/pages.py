"""Pages and their pictures: nothing is fetched from a network."""

import base64
import io
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from fashion.catalogue.images import open_image
from fashion.catalogue.root import CatalogueRoot
from fashion.files import write_file

SHOWN = (96, 128)  # largest width and height of a photo on a page, in pixels


class Sheet(NamedTuple):
    """Photos under a heading, each a data URI and a caption."""

    heading: str
    photos: list[tuple[str, str]]


def render(template: str, **context: Any) -> str:
    """Fill a template of `templates/`; text is escaped, and `written` is the time."""
    environment = Environment(
        loader=PackageLoader("fashion.reports"),
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


def photo_uri(root: CatalogueRoot, photo: str) -> str:
    """Return a photo of a catalogue, made small, as a data URI."""
    return _uri(open_image(root.read(photo), max(SHOWN)))


def array_uri(photo: np.ndarray) -> str:
    """Return a photo, `(H, W, 3)` uint8, made small, as a data URI."""
    return _uri(Image.fromarray(photo))


def _uri(image: Image.Image) -> str:
    image.thumbnail(SHOWN)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
