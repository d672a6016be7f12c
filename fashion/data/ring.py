"""Memory that loader workers share with the main process and write batch after batch into."""

import itertools
import mmap
import os
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

SlotItem = tuple[int, np.ndarray, int | None]  # epoch, rows, slot
_numbers = itertools.count()
_rings: "weakref.WeakValueDictionary[int, BatchRing]" = weakref.WeakValueDictionary()


class BatchRing:
    """Slots for batches of photos that forked workers and the main process all see.

    PyTorch hands a batch over in fresh shared memory, whose page faults cost many times what
    copying the photos does. Here the main process lends a worker a free slot for a batch, into
    which it writes. The slot is free again when the last tensor over it is gone, so a batch may be
    kept for as long as anyone likes; while all slots are taken, batches go through the queue
    itself: PyTorch's shared memory may be too small for one, as it is in a container.

    Args:
        num_slots: Batches that are on their way or in use.
        shape: `(B, H, W, 3)` of every batch.
    """

    def __init__(self, num_slots: int, shape: tuple[int, ...]) -> None:
        self.photos = _shared((num_slots, *shape))
        self.taken = np.zeros(num_slots, bool)  # as the main process alone knows it
        self.number = next(_numbers)
        self.owner = os.getpid()
        _rings[self.number] = self

    def __reduce__(self) -> str:
        """Refuse to be sent: a process that was not forked would write into a copy of the slots."""
        raise TypeError("A BatchRing is shared with forked processes alone.")

    def reserve(self) -> int | None:
        """Lend a slot for a batch that is asked for next, if there is a free one."""
        place = int(self.taken.argmin())
        if self.taken[place]:
            return None
        self.taken[place] = True
        return place

    def hand_over(self, batch: tuple[torch.Tensor, ...]) -> object:
        """Make ready to be sent a named tuple whose first tensor may lie in a slot.

        This is the loader's `collate_fn`: what arrives in the main process is the named tuple.
        """
        images, *others = batch
        place, offset = divmod(images.data_ptr() - self.photos.ctypes.data, self.photos[0].nbytes)
        if offset or not 0 <= place < len(self.photos):
            photos = images.permute(0, 2, 3, 1).contiguous().numpy()
            return _HandedOver(_unpack, type(batch), photos, [part.numpy() for part in others])
        return _HandedOver(
            _receive, self.number, place, type(batch), [part.numpy() for part in others]
        )

    def receive(self, place: int) -> torch.Tensor:
        """Return the images in a slot, `(B, 3, H, W)` uint8, which is free again with their end."""
        photos = self.photos[place]
        weakref.finalize(photos, self._release, place).atexit = False
        return torch.from_numpy(photos).permute(0, 3, 1, 2)

    def _release(self, place: int) -> None:
        # A process forked later inherits the tensors, whose end there means nothing.
        if os.getpid() == self.owner:
            self.taken[place] = False


class WithSlots:
    """Items of a sampler, each with the slot that its batch is to be written into, or None.

    Args:
        sampler: Yields `(epoch, rows)`.
        ring: Lends the slots.
    """

    def __init__(self, sampler: Sampler[tuple[int, np.ndarray]], ring: BatchRing) -> None:
        self.sampler = sampler
        self.ring = ring

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[SlotItem]:
        """Iterate over the items; a slot is lent when its batch is asked for."""
        for epoch, rows in self.sampler:
            yield epoch, rows, self.ring.reserve()


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
