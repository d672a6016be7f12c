"""Batches for predictions beside the splits: of changed photos, and of labels that no split has."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from fashion.catalogue.images import decode_image, decode_or_say_why
from fashion.cores import usable_cores
from fashion.data.batches import BatchLoader, DecodedPhotos, Photos, ProductDataset
from fashion.data.datamodule import FashionDataModule

Change = Callable[[np.ndarray], np.ndarray]


def changed_loader(
    datamodule: FashionDataModule, split: str, rows: np.ndarray, changes: Sequence[Change]
) -> BatchLoader:
    """Return some photos of a split under each change in turn, in order.

    Args:
        datamodule: Its catalogue, after `setup`.
        split: As in `FashionDataModule.loader`.
        rows: `(N,)` their places in the split.
        changes: As in `ProductDataset`, here one for all photos; there are `N * len(changes)` rows.
    """
    slots = np.tile(datamodule.slots(split)[rows], len(changes))
    each = [change for change in changes for _ in rows]
    return _in_order(datamodule, datamodule.packed, slots, each)


def unknown_loader(datamodule: FashionDataModule, photos: Iterable[str]) -> BatchLoader | None:
    """Return some photos that are in no split, in order; None where none can be read.

    They are decoded at once and kept in memory, not on the disk, so there should be few.

    Args:
        datamodule: Their catalogue.
        photos: Their names, as in the column `photo` of the catalogue table.
    """
    root = datamodule.root
    decode = partial(
        decode_image,
        input_size=datamodule.input_size,
        fit=datamodule.settings.fit,
        interpolation=datamodule.interpolation,
    )

    def decode_if_there(name: str) -> np.ndarray | str:
        try:
            return decode_or_say_why(lambda: decode(root.read(name)))
        except OSError as error:  # a report on other photos isn't to be lost by it
            return str(error)

    with ThreadPoolExecutor(usable_cores()) as pool:
        outcomes = pool.map(decode_if_there, photos)
        decoded = [photo for photo in outcomes if not isinstance(photo, str)]
    if not decoded:
        return None
    store = DecodedPhotos(np.stack(decoded), datamodule.input_size)
    return _in_order(datamodule, store, np.arange(len(decoded)))


def _in_order(
    datamodule: FashionDataModule,
    store: Photos,
    slots: np.ndarray,
    changes: Sequence[Change] | None = None,
) -> BatchLoader:
    """Return photos with targets that mean nothing, but have the shape of all others."""
    shape = datamodule.splits.targets("all").shape[1:]
    targets, plan = np.zeros((len(slots), *shape), np.int64), datamodule.plan
    dataset = ProductDataset(
        store, slots, targets, augment=False, rotation=0, seed=0, changes=changes
    )
    return plan.load(dataset, plan.ordered(len(slots)))
