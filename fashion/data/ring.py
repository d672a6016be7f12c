"""Memory that loader workers share with the main process and write batch after batch into."""

import itertools
import mmap
import os
import weakref
from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import get_worker_info

_numbers = itertools.count()
_rings: "weakref.WeakValueDictionary[int, BatchRing]" = weakref.WeakValueDictionary()


class BatchRing:
    """Slots for batches of photos that forked workers and the main process all see.

    PyTorch hands a batch over in fresh shared memory, whose page faults cost many times what
    copying the photos does. Here a worker writes it into a free slot and sends the slot's number.
    The slot is free again when the last tensor over it is gone, so a batch may be kept for as long
    as anyone likes; while all slots of a worker are taken, its batches go through the queue itself:
    PyTorch's shared memory may be too small for one, as it is in a container.

    Args:
        num_workers: Workers of the loader.
        num_slots: Slots of each worker.
        shape: `(B, H, W, 3)` of every batch.
    """

    def __init__(self, num_workers: int, num_slots: int, shape: tuple[int, ...]) -> None:
        self.photos = _shared((num_workers, num_slots, *shape))
        self.taken = _shared((num_workers, num_slots))
        self.number = next(_numbers)
        self.owner = os.getpid()
        _rings[self.number] = self

    def __reduce__(self) -> str:
        """Refuse to be sent: a process that was not forked would write into a copy of the slots."""
        raise TypeError("A BatchRing is shared with forked processes alone.")

    def reserve(self) -> np.ndarray | None:
        """Return a free slot of the calling worker, `(B, H, W, 3)` uint8, or None."""
        worker = get_worker_info()
        if worker is None or self.taken[worker.id].all():
            return None
        slot = worker.id, int(self.taken[worker.id].argmin())
        self.taken[slot] = 1
        photos: np.ndarray = self.photos[slot]
        return photos

    def hand_over(self, batch: tuple[torch.Tensor, ...]) -> object:
        """Make ready to be sent a named tuple whose first tensor may lie in a slot.

        This is the loader's `collate_fn`: what arrives in the main process is the named tuple.
        """
        images, *others = batch
        slot_bytes = self.photos[0, 0].nbytes
        place, offset = divmod(images.data_ptr() - self.photos.ctypes.data, slot_bytes)
        if offset or not 0 <= place < self.taken.size:
            photos = images.permute(0, 2, 3, 1).contiguous().numpy()
            return _HandedOver(_unpack, type(batch), photos, [part.numpy() for part in others])
        return _HandedOver(
            _receive, self.number, place, type(batch), [part.numpy() for part in others]
        )

    def receive(self, place: int) -> torch.Tensor:
        """Return the images in a slot, `(B, 3, H, W)` uint8, which is free again with their end."""
        photos = self.photos[divmod(place, self.taken.shape[1])]
        weakref.finalize(photos, self._release, place).atexit = False
        return torch.from_numpy(photos).permute(0, 3, 1, 2)

    def _release(self, place: int) -> None:
        # A process forked later inherits the tensors, whose end there means nothing.
        if os.getpid() == self.owner:
            self.taken.flat[place] = 0


class _HandedOver:
    """A batch on its way: unpickled, it is what `receive` returns for the arguments."""

    def __init__(self, receive: Callable[..., object], *arguments: object) -> None:
        self.reduced = receive, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.reduced


def _receive(number: int, place: int, kind: type, others: list[np.ndarray]) -> object:
    return kind(_rings[number].receive(place), *map(torch.from_numpy, others))


def _unpack(kind: type, photos: np.ndarray, others: list[np.ndarray]) -> object:
    return kind(torch.from_numpy(photos).permute(0, 3, 1, 2), *map(torch.from_numpy, others))


def _shared(shape: tuple[int, ...]) -> np.ndarray:
    """Return zeros of uint8 that forked processes share; a page takes memory once it is written."""
    return np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8).reshape(shape)
