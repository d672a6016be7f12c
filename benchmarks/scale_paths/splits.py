"""Sharing the photos of a catalogue out, in groups, and exploring a catalogue."""

from pathlib import Path

import numpy as np
import pandas as pd

from fashion.catalogue.split_catalogue import TWIN_COLUMNS, split_catalogue
from fashion.catalogue.table import Catalogue
from fashion.commands.configuration import compose_words, container
from fashion.data.settings import DataSettings
from fashion.reports.explore import explore
from scale_paths.stores import prepare_store


def prepare_split(folder: Path, photos: int, classes: int) -> None:
    """Nothing is read from files."""


def run_split(folder: Path, photos: int, classes: int) -> None:
    """Share out a table whose photos have twins, one in ten, and write down who is where."""
    random = np.random.default_rng(0)
    ids = pd.Series(np.arange(photos).astype(str))
    labels = np.char.add("class ", random.integers(0, classes, photos).astype(str))
    table = pd.DataFrame({"line": np.arange(photos) + 2, "id": ids, "photo": ids, "label": labels})
    dropped = pd.DataFrame(columns=["line", "id", "label", "reason", "detail", "photo"])
    catalogue = Catalogue(table, dropped, photos, pd.DataFrame(index=table["line"]), "a table")
    twins = table.iloc[: photos // 10].assign(group=np.arange(photos // 10) // 2, distance=0.0)
    splits = split_catalogue(
        catalogue, twins[TWIN_COLUMNS].reset_index(drop=True), kind="grouped", seed=0
    )
    splits.facts()
    splits.sha256()
    splits.write_tables(folder)


def prepare_explore(folder: Path, photos: int, classes: int) -> None:
    """Write a zip of small photos."""
    prepare_store(folder, photos, classes)


def run_explore(folder: Path, photos: int, classes: int) -> None:
    """Explore it; twins are looked for as the settings say."""
    words = [f"data.root={folder / 'catalogue.zip'}", f"data.cache_dir={folder / 'cache'}"]
    cfg = compose_words([*words, "output_dir=unused"])
    settings = DataSettings.from_config(container(cfg.data))
    explore(settings, 224, folder / "explored")
