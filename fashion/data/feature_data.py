"""Batches of stored features: from the disk, or from the memory of the device that trains."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from fashion.data.batches import (
    PADDING,
    Batch,
    channels_first,
    channels_last,
    places_of,
)
from fashion.data.feature_store import FeatureStore, stored_shape
from fashion.shards import check_places

CHUNK = 1024  # photos read at a time on their way to a device


class DeviceFeatures:
    """Features in the memory of a device, to be taken by their places there.

    A place is that of a view and a photo.

    Args:
        store: Holds them on the disk.
        wanted: The slots that are taken of each view.
        device: Where they go.
        send: Brings them from there to where they stay, for devices that PyTorch can't write to.
    """

    def __init__(
        self,
        store: FeatureStore,
        wanted: list[np.ndarray],
        device: torch.device,
        send: Callable[[Tensor], Tensor] = lambda part: part,
    ) -> None:
        ends = np.cumsum([len(slots) for slots in wanted])
        self._num_places = num_places = int(ends[-1])
        self._places = np.full((len(wanted), store.num_photos), PADDING)
        shapes = [stored_shape(tensor.shape) for tensor in store.boundary]
        parts = [
            torch.empty((num_places, *shape), dtype=store.dtype, device=device) for shape in shapes
        ]
        bar = tqdm(total=num_places, desc="To the device", unit="photo", disable=None)
        with bar:
            for view, (slots, end) in enumerate(zip(wanted, ends, strict=True)):
                places = np.arange(end - len(slots), end)
                self._places[view, slots] = places
                for first in range(0, len(slots), CHUNK):
                    chunk = slice(first, first + CHUNK)
                    for part, read in zip(parts, store.read(view, slots[chunk]), strict=True):
                        part[places[chunk][0] : places[chunk][-1] + 1] = channels_last(read)
                    bar.update(len(slots[chunk]))
        self._parts = [send(part) for part in parts]

    def places(self, view: int, slots: np.ndarray) -> np.ndarray:
        """Return where the features of these photos are.

        Raises:
            IndexError: Those of one are not there; a device might take others instead.
        """
        check_places(slots, self._places.shape[1])
        places: np.ndarray = self._places[view, slots]
        check_places(places, self._num_places)
        return places

    def gather(self, places: Tensor) -> tuple[Tensor, ...]:
        """Return the features at `(B,)` int64 places, `(B, ...)` each, as `FeatureStore.read`."""
        return tuple(channels_first(part.index_select(0, places)) for part in self._parts)


class FeatureDataset(Dataset[Batch]):
    """The features and targets of one split, fetched a batch at a time.

    Args:
        store: Holds them.
        slots: `(N,)` the place of each row in the store.
        targets: `(N,)` or `(N, H)` int64.
        num_views: How many views the epochs take in turn.
        on_device: Where a batch's features are, which are then named by their places alone.
    """

    def __init__(
        self,
        store: FeatureStore,
        slots: np.ndarray,
        targets: np.ndarray,
        num_views: int,
        *,
        on_device: DeviceFeatures | None = None,
    ) -> None:
        self.store = store
        self.slots = slots
        self.targets = targets
        self.num_views = num_views
        self.on_device = on_device

    def __len__(self) -> int:
        """Return N."""
        return len(self.slots)

    def __getitem__(self, item: tuple[int, np.ndarray]) -> Batch:
        """Return the batch of `(epoch, rows)`; a row of `PADDING` repeats the first photo."""
        epoch, rows = item
        chosen = places_of(rows, len(self))
        view, slots = epoch % self.num_views, self.slots[chosen]
        inputs: Tensor | tuple[Tensor, ...]
        if self.on_device:
            places = self.on_device.places(view, slots)
            inputs = torch.from_numpy(places)
        else:
            inputs = self.store.read(view, slots)
        return Batch(inputs, torch.from_numpy(self.targets[chosen]), torch.from_numpy(rows))
