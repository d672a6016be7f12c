"""An epoch of a loader's training batches, out of a store that is packed."""

from pathlib import Path

import numpy as np
import pandas as pd

from fashion.catalogue.root import open_root
from fashion.data.batches import ProductDataset
from fashion.data.loaders import BatchPlan
from fashion.data.photo_store import PhotoStore, open_store
from scale_paths.stores import HOW, prepare_store

BATCH = 512


def prepare_loader(folder: Path, photos: int, classes: int) -> None:
    """Write a catalogue and pack it."""
    prepare_store(folder, photos, classes)
    _open(folder, photos)


def run_loader(folder: Path, photos: int, classes: int) -> None:
    """Open the store and go through the batches of an epoch, augmented as in training."""
    store = _open(folder, photos)
    targets = np.arange(photos) % classes
    dataset = ProductDataset(store, np.arange(photos), targets, augment=True, rotation=10, seed=0)
    plan = BatchPlan(BATCH, None)
    batches = plan.load(dataset, plan.shuffled(photos, seed=0), persistent=True)
    assert sum(len(batch.rows) for batch in batches) == photos - photos % BATCH


def _open(folder: Path, photos: int) -> PhotoStore:
    root = open_root(folder / "catalogue.zip")
    ids = [str(number) for number in range(photos)]
    table = pd.DataFrame({"id": ids, "photo": [root.photos[id_] for id_ in ids]})
    return open_store(root, table, *HOW, folder / "cache")
