"""The search for twins among photos whose thumbnails are there, as packing leaves them.

The thumbnails are drawn: each picture has 50 variants, of which a photo is as near to as many as in
the study's catalogue (2.4 candidates a photo), and 4 in 100 photos are another in other colours.
"""

import shutil
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from fashion.twins.groups import find_twins
from fashion.twins.thumbnail_store import ThumbnailStore
from fashion.twins.thumbnails import FIELDS, look, thumbnails

VARIANTS, TWINS = 50, 0.04
BLOCK, PATTERNS = 2_000, 256
CACHE, KEYS = "cache", "keys.npy"


def prepare_twins(folder: Path, photos: int, classes: int) -> None:
    """Draw pictures, and their variants' thumbnails into a store."""
    rng = np.random.default_rng(0)
    pictures = thumbnails(look(_drawn(rng)) for _ in range(max(photos // VARIANTS, 1)))
    patterns = {
        field.name: rng.normal(size=(PATTERNS, *field.shape)).astype(np.float32)
        for field in FIELDS
        if field.name in ("fine", "half", "coarse")
    }
    lengths = {name: _length(pictures[name]) for name in patterns}
    keys = np.frombuffer(rng.bytes(16 * photos), "V16")
    np.save(folder / KEYS, keys)
    store = ThumbnailStore(folder / CACHE)
    with store.adding():
        for start in range(0, photos, BLOCK):
            part = keys[start : start + BLOCK]
            store.keep(part, _variants(rng, pictures, patterns, lengths, len(part)))


def run_twins(folder: Path, photos: int, classes: int) -> None:
    """Find the twins among all photos."""
    keys = np.load(folder / KEYS)
    names = [f"images/{number}.jpg" for number in range(photos)]
    labels = [f"class {number % classes}" for number in range(photos)]
    table = pd.DataFrame({"id": names, "photo": names, "label": labels})
    shutil.rmtree(folder / CACHE / "twins", ignore_errors=True)
    root = SimpleNamespace(keys=lambda photos: keys, read=None)
    twins = find_twins(root, table, folder / CACHE)  # type: ignore[arg-type]
    assert len(twins) >= TWINS * photos, f"only {len(twins):,} twins were found"


def _drawn(rng: np.random.Generator) -> bytes:
    """Return a photo of shapes inside an outline."""
    image, mask = Image.new("RGB", (96, 128), "white"), Image.new("L", (96, 128))
    outline = [*zip(rng.integers(4, 92, 7).tolist(), rng.integers(4, 124, 7).tolist(), strict=True)]
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    shapes = Image.new("RGB", image.size, tuple(rng.integers(60, 170, 3).tolist()))
    pen = ImageDraw.Draw(shapes)
    for _ in range(14):
        x, y, size = rng.integers(4, 92), rng.integers(4, 124), rng.integers(4, 20)
        pen.ellipse((x, y, x + size, y + size), fill=tuple(rng.integers(20, 230, 3).tolist()))
    image.paste(shapes, mask=mask)
    file = BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def _length(arrays: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each picture's values."""
    deviation: np.ndarray = arrays.reshape(len(arrays), -1).std(axis=1, dtype=np.float32)
    return deviation


def _variants(
    rng: np.random.Generator,
    pictures: dict[str, np.ndarray],
    patterns: dict[str, np.ndarray],
    lengths: dict[str, np.ndarray],
    number: int,
) -> dict[str, np.ndarray]:
    """Return the thumbnails of variants of some pictures, twins right behind one another."""
    chosen = rng.integers(0, len(pictures["sizes"]), number)
    twin = 1 + np.flatnonzero(rng.random(number - 1) < TWINS)
    chosen[twin] = chosen[twin - 1]
    arrays = {name: array[chosen] for name, array in pictures.items()}
    arrays["digests"] = rng.integers(0, 2**63, (number, 2)).astype(np.uint64)
    # Squared lengths of what is added: few variants are alike enough to be compared.
    structures, edges = 0.15 + 1.3 * rng.random(number) ** 2, 0.62 * rng.random(number)
    for name, added in (("fine", structures), ("half", structures), ("coarse", edges)):
        array = patterns[name][rng.integers(0, PATTERNS, number)]
        scale = (lengths[name][chosen] * np.sqrt(added)).astype(np.float32)
        array *= scale.reshape(-1, *[1] * (array.ndim - 1))
        array += arrays[name]
        np.rint(array, out=array)
        low, high = (0, 255) if name == "coarse" else (-127, 127)
        arrays[name] = np.clip(array, low, high, out=array).astype(arrays[name].dtype)
        arrays[name][twin] = arrays[name][twin - 1]
    for name in ("fine", "half"):
        arrays[name][twin] = np.roll(arrays[name][twin - 1], 1, axis=1)
    return arrays
