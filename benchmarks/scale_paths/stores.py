"""The packed photos of a catalogue: packing them, and opening the store again."""

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fashion.catalogue.root import open_root
from fashion.data.photo_store import open_store

SIDES, DRAWN = (60, 80), 64
HOW = (32, "squash", "bilinear")


def prepare_store(folder: Path, photos: int, classes: int) -> None:
    """Write a zip of small JPEGs, a few drawings over and over, each under a name of its own."""
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWN):
        low = random.integers(0, 256, (10, 8, 3), dtype=np.uint8)
        buffer = BytesIO()
        Image.fromarray(low).resize(SIDES, Image.Resampling.BILINEAR).save(buffer, "JPEG")
        drawn.append(buffer.getvalue())
    with zipfile.ZipFile(folder / "catalogue.zip", "w", zipfile.ZIP_STORED) as archive:
        rows = (f"{number},{number % classes}" for number in range(photos))
        archive.writestr("styles.csv", "\n".join(["id,articleType", *rows]))
        for number in range(photos):
            archive.writestr(f"images/{number}.jpg", drawn[number % DRAWN])


def run_store(folder: Path, photos: int, classes: int) -> None:
    """Pack them all, and open the store again."""
    root = open_root(folder / "catalogue.zip")
    ids = [str(number) for number in range(photos)]
    table = pd.DataFrame({"id": ids, "photo": [root.photos[id_] for id_ in ids]})
    for _ in range(2):
        store = open_store(root, table, *HOW, folder / "cache")
    assert len(store) == photos
