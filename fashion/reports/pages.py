"""Pages and their pictures: nothing is fetched from a network."""

import base64
import io
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from fashion.catalogue.images import open_image
from fashion.catalogue.root import CatalogueRoot
from fashion.metrics.intervals import wilson
from fashion.reports.letters import use_fonts
from fashion.wording import many

SHOWN = (96, 128)  # largest width and height of a photo on a page, in pixels
BLANK = "data:image/svg+xml," + quote(
    '<svg xmlns="http://www.w3.org/2000/svg" width="96" height="96"><rect width="96" height="96" '
    'fill="#e4e7eb"/><text x="48" y="52" text-anchor="middle" font-family="sans-serif" '
    'font-size="11" fill="#444">no file</text></svg>'
)


log = logging.getLogger(__name__)


class Sheet(NamedTuple):
    """Photos under a heading, each a data URI and a caption."""

    heading: str
    photos: list[tuple[str, str]]


def render(template: str, **context: Any) -> str:
    """Fill a template of `templates/`, which has `wilson` and `many`; text is escaped.

    `written` is the time.
    """
    environment = Environment(
        loader=PackageLoader("fashion.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"wilson": wilson, "many": many}
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template(template).render(written=written, **context)


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG, in letters of other fonts where its own lacks some."""
    use_fonts(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def write_pictures(
    pngs: Mapping[str, bytes], write: Callable[[str, bytes], None]
) -> dict[str, str]:
    """Write each PNG as `figures/NAME.png`, and return them in base64 for a page.

    Args:
        pngs: By name.
        write: As `fashion.files.rewriting` yields it.
    """
    for name, content in pngs.items():
        write(f"figures/{name}.png", content)
    return {name: base64.b64encode(content).decode() for name, content in pngs.items()}


def records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return a table's rows for a template, None where there is no value."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def photo_uri(root: CatalogueRoot, photo: str) -> str:
    """Return a photo of a catalogue, made small, as a data URI."""
    return _uri(open_image(root.read(photo), max(SHOWN)))


class Gallery:
    """Shows photos of a catalogue on a page; one whose file can't be read has a stand-in.

    Args:
        root: Reads the photos.

    Attributes:
        unread: How many couldn't be read.
    """

    def __init__(self, root: CatalogueRoot) -> None:
        self.root = root
        self.unread = 0

    def uri(self, photo: str | None, stand_in: Callable[[], str] = lambda: BLANK) -> str:
        """Return a photo as `photo_uri` does, or its stand-in.

        Args:
            photo: Its name, as in the column `photo` of the catalogue table; None: it has no file.
            stand_in: Returns a data URI; without it, that of a grey square.
        """
        try:
            if photo is not None:
                return photo_uri(self.root, photo)
        except (OSError, ValueError) as error:
            log.debug("%s can't be read: %s", photo, error)
        self.unread += 1
        return stand_in()


def array_uri(photo: np.ndarray) -> str:
    """Return a photo, `(H, W, 3)` uint8, made small, as a data URI."""
    return _uri(Image.fromarray(photo))


def _uri(image: Image.Image) -> str:
    image.thumbnail(SHOWN)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
