"""The table of a catalogue, and the list of a zip's files."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fashion.catalogue.root import open_root
from fashion.catalogue.table import load_catalogue

VALUES = {
    **{"gender": 5, "masterCategory": 7, "subCategory": 45, "baseColour": 46, "season": 4},
    **{"year": 12, "usage": 8},
}


def prepare_open(folder: Path, photos: int, classes: int) -> None:
    """Write a zip of files of a few bytes, which was opened once."""
    _write_zip(folder / "catalogue.zip", photos, f"id,articleType\n0,{classes}\n")
    run_open(folder, photos, classes)


def run_open(folder: Path, photos: int, classes: int) -> None:
    """Open it again, as each command does."""
    root = open_root(folder / "catalogue.zip", cache_dir=folder / "cache")
    assert len(root.photos) == photos


def prepare_table(folder: Path, photos: int, classes: int) -> None:
    """Write the same with a table like that of the Fashion Product Images."""
    _write_zip(folder / "catalogue.zip", photos, "".join(_rows(photos, classes)))
    run_open(folder, photos, classes)


def run_table(folder: Path, photos: int, classes: int) -> None:
    """Open the zip again, read the table and find the photo of each row."""
    root = open_root(folder / "catalogue.zip", cache_dir=folder / "cache")
    assert len(load_catalogue(root, min_images=1).table) == photos


def _write_zip(path: Path, photos: int, table: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("styles.csv", table)
        for number in range(photos):
            archive.writestr(zipfile.ZipInfo(f"images/{number}.jpg"), str(number))


def _rows(photos: int, classes: int) -> Iterator[str]:
    """Yield the lines of a table of ten columns."""
    random = np.random.default_rng(0)
    columns = {"articleType": classes, **VALUES}
    cells = [
        [f"{name} {value}" for value in random.integers(0, count, photos)]
        for name, count in columns.items()
    ]
    yield f"id,{','.join(columns)},productDisplayName\n"
    for number, row in enumerate(zip(*cells, strict=True)):
        yield f"{number},{','.join(row)},{row[0]} of {row[4]} number {number}\n"
