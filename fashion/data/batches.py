"""Batches of photos: augmentation, the order of the rows, and the loaders."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _BaseDataLoaderIter

from fashion.data.ring import BatchRing, SlotItem, WithSlots
from fashion.shards import check_places

PADDING = -1
BATCHES_AHEAD = 2  # on the device or on their way, besides the one in use


class Batch(NamedTuple):
    """What crosses to the device.

    Attributes:
        inputs: Photos `(B, 3, H, W)` uint8, channels last in memory, or what a frozen side made of
            them, or `(B,)` int64 the places of that on the device, see `fashion.data.feature_data`.
        targets: `(B,)` int64 in [0, K), or `(B, H)` where there are attributes, see
            `fashion.attributes`.
        rows: `(B,)` int64, the row of each photo in its split; `PADDING` marks those that only fill
            the batch.
    """

    inputs: Tensor | tuple[Tensor, ...]
    targets: Tensor
    rows: Tensor


def channels_last(part: Tensor) -> Tensor:
    """Return maps `(B, C, H, W)` as `(B, H, W, C)`, and anything else as it is."""
    return part.permute(0, 2, 3, 1) if part.ndim == 4 else part


def channels_first(part: Tensor) -> Tensor:
    """Return maps `(B, H, W, C)` as `(B, C, H, W)`, and anything else as it is."""
    return part.permute(0, 3, 1, 2) if part.ndim == 4 else part


def places_of(rows: np.ndarray, num_rows: int) -> np.ndarray:
    """Return the places of rows, of those that only fill a batch the first one.

    Raises:
        IndexError: There is no such row.
    """
    places: np.ndarray = np.where(rows == PADDING, 0, rows)
    check_places(places, num_rows)
    return places


class Photos(Protocol):
    """Photos, `(H, W, 3)` uint8, as `PhotoStore` has them."""

    @property
    def input_size(self) -> int:
        """H and W."""

    def take(self, places: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return photos by their places `(B,)`, `(B, H, W, 3)`, written into `out` if passed.

        Raises:
            IndexError: There is no such place.
        """


class DecodedPhotos(NamedTuple):
    """`Photos` in memory, `(N, H, W, 3)` uint8."""

    photos: np.ndarray
    input_size: int

    def take(self, places: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return some of them."""
        check_places(places, len(self.photos))
        # With its default mode, take would fill a copy of `out` first.
        taken: np.ndarray = np.take(self.photos, places, axis=0, out=out, mode="clip")
        return taken


class ProductDataset(Dataset[Batch]):
    """The photos and targets of one split, fetched a batch at a time.

    Args:
        store: The packed photos.
        slots: `(N,)` the place of each row in the store.
        targets: `(N,)` or `(N, H)` int64.
        augment: Flip and rotate.
        rotation: Largest angle in degrees, drawn uniformly from [-rotation, rotation].
        seed: Seeds the augmentation together with epoch and row.
        plain_first: Leave the photos of epoch 0 as they are.
        changes: What each row's photo, `(H, W, 3)` uint8, is changed by; None leaves them all.
    """

    def __init__(
        self,
        store: Photos,
        slots: np.ndarray,
        targets: np.ndarray,
        *,
        augment: bool,
        rotation: float,
        seed: int,
        plain_first: bool = False,
        changes: Sequence[Callable[[np.ndarray], np.ndarray]] | None = None,
    ) -> None:
        self.store = store
        self.slots = slots
        self.targets = targets
        self.augment = augment
        self.rotation = rotation
        self.seed = seed
        self.plain_first = plain_first
        self.changes = changes
        self.ring: BatchRing | None = None

    def __len__(self) -> int:
        """Return N."""
        return len(self.slots)

    def __getitem__(self, item: tuple[int, np.ndarray] | SlotItem) -> Batch:
        """Return the batch of `(epoch, rows)`; a row of `PADDING` repeats the first photo.

        It is written into a slot of the ring where the item names one.
        """
        epoch, rows = item[:2]
        slot = item[2] if len(item) == 3 else None
        places = places_of(rows, len(self))
        out = self.ring.photos[slot] if self.ring and slot is not None else None
        photos = self.store.take(self.slots[places], out)
        if self.augment and not (self.plain_first and epoch == 0):
            for place, row in enumerate(places):
                photos[place] = self._augmented(photos[place], (self.seed, epoch, int(row)))
        if self.changes is not None:
            for place, row in enumerate(places):
                photos[place] = self.changes[row](photos[place])
        return Batch(
            inputs=torch.from_numpy(photos).permute(0, 3, 1, 2),
            targets=torch.from_numpy(self.targets[places]),
            rows=torch.from_numpy(rows),
        )

    def _augmented(self, photo: np.ndarray, key: tuple[int, int, int]) -> np.ndarray:
        generator = np.random.default_rng(key)
        if generator.random() < 0.5:
            photo = photo[:, ::-1]
        angle = generator.uniform(-self.rotation, self.rotation)
        if self.rotation == 0:
            return photo
        image = Image.fromarray(np.ascontiguousarray(photo))
        white = (255, 255, 255)
        return np.asarray(image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=white))


class BatchSampler(Sampler[tuple[int, np.ndarray]]):
    """Yields `(epoch, rows)`: this process' part of each global batch, always of the same length.

    A global batch is the rows of one optimiser step. It depends on the seed and the epoch alone;
    processes and accumulated micro-batches share it out, so their number changes no step. Shuffled
    batches leave out the rows that don't fill the last one; ordered batches pad it.

    Args:
        num_rows: N.
        batch_size: Rows of one global batch.
        num_parts: Parts of a global batch: processes times accumulated micro-batches.
        rank: This process' number.
        world_size: Processes.
        shuffle_seed: Seeds the order; None keeps the order of the rows.
        chances: `(N,)`, positive: how likely each row is drawn, with replacement, where rows are
            shuffled; None has each epoch take each row once.
    """

    def __init__(
        self,
        num_rows: int,
        batch_size: int,
        *,
        num_parts: int = 1,
        rank: int = 0,
        world_size: int = 1,
        shuffle_seed: int | None = None,
        chances: np.ndarray | None = None,
    ) -> None:
        self.num_rows = num_rows
        self.batch_size = batch_size
        self.part_size = batch_size // num_parts
        self.rank = rank
        self.world_size = world_size
        self.shuffle_seed = shuffle_seed
        self.chances = None if chances is None else chances / chances.sum()
        self.epoch = 0
        self._skipped: tuple[int, int] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; Lightning calls this."""
        self.epoch = epoch

    def skip(self, num_batches: int) -> None:
        """Leave out the first batches of the current epoch, to go on in its middle."""
        self._skipped = (self.epoch, num_batches)

    def __len__(self) -> int:
        """Return the batches of this process in one epoch."""
        whole = self.num_rows // self.batch_size
        if self.shuffle_seed is None:
            whole = -(-self.num_rows // self.batch_size)
        return whole * (self.batch_size // (self.part_size * self.world_size))

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """Iterate over this process' batches of the current epoch."""
        skipped_epoch, num_skipped = self._skipped or (self.epoch, 0)
        first = num_skipped if skipped_epoch == self.epoch else 0
        parts = self._order().reshape(-1, self.world_size, self.part_size)[:, self.rank]
        return zip(repeat(self.epoch), parts[first:])

    def _order(self) -> np.ndarray:
        rows = np.arange(self.num_rows)
        if self.shuffle_seed is None:
            return np.pad(rows, (0, -self.num_rows % self.batch_size), constant_values=PADDING)
        generator = np.random.default_rng((self.shuffle_seed, self.epoch))
        if self.chances is None:
            rows = generator.permutation(self.num_rows)
        else:
            rows = generator.choice(self.num_rows, self.num_rows, p=self.chances)
        return rows[: self.num_rows - self.num_rows % self.batch_size]


def batches_held(num_workers: int, prefetch: int) -> int:
    """Return how many batches a loader has at once.

    Besides those that its workers prepare, one is in use and one fetched ahead by the trainer.
    """
    return num_workers * prefetch + 2


def start_method() -> str:
    """Return how workers start: as Python's processes do, in a process of joblib's, too.

    There the default is a way of joblib's own, which takes no process but its own.
    """
    chosen, possible = multiprocessing.get_start_method(), multiprocessing.get_all_start_methods()
    return chosen if chosen in possible else possible[0]


class BatchLoader(DataLoader[Batch]):
    """A DataLoader of whole batches that Lightning can resume in the middle of an epoch."""

    dataset: ProductDataset
    sampler: BatchSampler
    progress: Any = None

    def __iter__(self) -> _BaseDataLoaderIter:
        """Iterate over the batches; forked workers get slots to write them into."""
        starts_workers = self.num_workers > 0 and self._iterator is None
        context: Any = self.multiprocessing_context
        method = context.get_start_method() if context else start_method()
        if starts_workers and method == "fork":
            size = self.dataset.store.input_size
            shape = (self.sampler.part_size, size, size, 3)
            ring = BatchRing(batches_held(self.num_workers, self.prefetch_factor or 0), shape)
            self.dataset.ring, self.collate_fn = ring, ring.hand_over
        return super().__iter__()

    @property
    def _index_sampler(self) -> BatchSampler | WithSlots:
        ring = getattr(self.dataset, "ring", None)  # features need none
        return WithSlots(self.sampler, ring) if ring else self.sampler

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the current epoch have been trained on."""
        if self.progress is None or self.progress.is_last_batch:
            return {"batches_done": 0}
        return {"batches_done": self.progress.current.completed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Leave out the batches trained on before."""
        self.sampler.skip(state_dict["batches_done"])


class DeviceLoader:
    """A loader whose next batches are on the device, or on their way, before they are asked for.

    Args:
        loader: Yields batches on the host.
        transfer: Sends one to the device.
    """

    def __init__(self, loader: BatchLoader, transfer: Callable[[Batch], Batch]) -> None:
        self.loader = loader
        self.transfer = transfer
        self.sampler = loader.sampler
        self.batch_sampler = loader.batch_sampler
        self.state_dict = loader.state_dict
        self.load_state_dict = loader.load_state_dict
        self._running: Generator[Batch] | None = None

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the batches on the device; an error of the loader is raised here."""
        if self._running is not None:
            self._running.close()  # an epoch that was left early may still be fetching
        self._running = self._run(iter(self.loader))
        return self._running

    @property
    def _iterator(self) -> _BaseDataLoaderIter | None:
        """The loader's running iterator, whose workers Lightning ends with the training."""
        return self.loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: _BaseDataLoaderIter | None) -> None:
        if self._running is not None:
            self._running.close()
        self.loader._iterator = iterator

    def _run(self, batches: Iterator[Batch]) -> Generator[Batch]:
        def fetch() -> Batch | None:
            batch = next(batches, None)
            return None if batch is None else self.transfer(batch)

        with ThreadPoolExecutor(1, "transfer") as thread:
            ahead = deque(thread.submit(fetch) for _ in range(BATCHES_AHEAD))
            while (batch := ahead.popleft().result()) is not None:
                ahead.append(thread.submit(fetch))
                yield batch
