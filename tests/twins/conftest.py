import hashlib
import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fashion.twins.thumbnail_store import ThumbnailStore

WIDTH, HEIGHT = 180, 240


@pytest.fixture(scope="session")
def product():
    """Returns product(seed, *, shape), a product on white with a print of its own."""
    return draw_product


@pytest.fixture(scope="session")
def encoded():
    """Returns encoded(image, quality), the image as a JPEG file."""
    return encode


@pytest.fixture(scope="session")
def recoloured():
    """Returns recoloured(image), the product in other colours."""
    return recolour


@pytest.fixture(scope="session")
def keys_of():
    """Returns keys_of(number), so many keys of photos."""

    def make(number):
        digests = (hashlib.sha256(str(i).encode()).digest()[:16] for i in range(number))
        return np.array([*digests], "V16")

    return make


@pytest.fixture(scope="session")
def thumbnails_of(tmp_path_factory, keys_of):
    """Returns thumbnails_of(files), those of photos by their files, each of a key of its own."""

    def make(files):
        store = ThumbnailStore(tmp_path_factory.mktemp("thumbnails"))
        store.fill(keys := keys_of(len(files)), range(len(files)), files.__getitem__)
        return store.of(keys)

    return make


def draw_product(seed, *, shape=0):
    """Draw an invented product on white: the shape is common, the print on it is its own."""
    rng = np.random.default_rng((seed, 7))
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    outline = [
        [(30, 40), (150, 40), (160, 200), (20, 200)],
        [(60, 20), (120, 20), (150, 120), (110, 220), (70, 220), (30, 120)],
        [(20, 90), (160, 70), (165, 150), (25, 170)],
    ][shape % 3]
    draw.polygon(outline, fill=tuple(rng.integers(60, 170, 3).tolist()))
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    print_ = image.copy()
    pen = ImageDraw.Draw(print_)
    for _ in range(14):
        x, y = rng.integers(15, 165), rng.integers(15, 225)
        size = rng.integers(6, 26)
        colour = tuple(rng.integers(20, 230, 3).tolist())
        (pen.ellipse if rng.random() < 0.5 else pen.rectangle)(
            (x - size, y - size / 2, x + size, y + size / 2), fill=colour
        )
    image.paste(print_, mask=mask)
    return image


def encode(image, quality=90):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def recolour(image):
    """Give the product other colours; white stays white."""
    red, green, blue = image.split()
    return Image.merge("RGB", (blue, red, green))
