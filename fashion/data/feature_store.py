"""The feature store: what crosses a network's cut, computed once for each photo and view.

A photo's features are those of its plain view or of one that was augmented as in an epoch of
ordinary training. Each view is a store of its own, in which a photo is found by its key, so that an
interrupted run goes on where it was, and other photos, splits or numbers of views compute only what
is not there yet.
"""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler
from tqdm import tqdm

from fashion.cache_folder import FULL
from fashion.data.batches import PADDING, Batch, channels_first, channels_last
from fashion.data.settings import VIEW_PRECISIONS
from fashion.files import size_text
from fashion.models.cut import BoundaryTensor
from fashion.shards import Adder, Field, ShardedStore, check_places, store_key

KIND = "features"
PRECISIONS: dict[str, torch.dtype] = {name: getattr(torch, name) for name in VIEW_PRECISIONS}
log = logging.getLogger(__name__)


class FeatureStore:
    """Features on disk of N photos, `(N, ...)` for each tensor and view.

    They aren't deleted for as long as there is one of these, where the disk has locks.

    Args:
        views: Holds each view; the first is the plain one.
        keys: The key of each photo, `(N,)` V16.
        boundary: What is kept of each photo.
        dtype: In which it is kept, float32 or bfloat16.
    """

    def __init__(
        self,
        views: list[ShardedStore],
        keys: np.ndarray,
        boundary: tuple[BoundaryTensor, ...],
        dtype: torch.dtype,
    ) -> None:
        self.views = views
        self.keys = keys
        self.boundary = boundary
        self.dtype = dtype
        self.look()

    @property
    def num_photos(self) -> int:
        """N."""
        return len(self.keys)

    @property
    def bytes_per_photo(self) -> int:
        """Bytes of one photo in one view."""
        return feature_bytes(self.boundary, self.dtype)

    def look(self) -> None:
        """Find out which features are there."""
        self._records = [view.find(self.keys) for view in self.views]

    def missing(self, view: int, slots: np.ndarray) -> np.ndarray:
        """Return those of `slots` whose features are not there yet."""
        check_places(slots, self.num_photos)
        missing: np.ndarray = slots[self._records[view][slots] < 0]
        return missing

    def read(self, view: int, slots: np.ndarray) -> tuple[Tensor, ...]:
        """Return the features of these photos, `(B, ...)` each; maps are channels last in memory.

        Raises:
            IndexError: Some are not there; there would be others in their place.
        """
        check_places(slots, self.num_photos)
        records = self._records[view][slots]
        if (absent := slots[records < 0]).size:
            raise IndexError(f"{self.views[view].folder} lacks the features of place {absent[0]}.")
        parts = (self.views[view].take(str(number), records) for number in range(self._width))
        return tuple(channels_first(torch.from_numpy(part).view(self.dtype)) for part in parts)

    def add(self, adder: Adder, slots: np.ndarray, features: list[Tensor]) -> None:
        """Write down `(B, ...)` features of the photos `(B,)` in a view."""
        stored = (channels_last(part).to(self.dtype).contiguous() for part in features)
        arrays = {
            str(number): part.view(_BITS[self.dtype]).numpy() for number, part in enumerate(stored)
        }
        adder.add(self.keys[slots], arrays)

    @property
    def _width(self) -> int:
        return len(self.boundary)


_BITS = {torch.bfloat16: torch.uint16, torch.float32: torch.float32}


def open_features(
    cache_dir: Path,
    key: str,
    keys: np.ndarray,
    boundary: tuple[BoundaryTensor, ...],
    *,
    precision: str,
    views: tuple[str, ...],
) -> FeatureStore:
    """Return the features of these photos, their views filled or not.

    Args:
        cache_dir: The folder of all stores.
        key: All that decides the features of the plain view, but the photos: how they are packed,
            weights, cut.
        keys: The key of each photo, `(N,)` V16.
        boundary: What crosses the cut.
        precision: `bfloat16` or `float32`.
        views: See `view_names`.

    Raises:
        OSError: The folder can't be read.
    """
    dtype = PRECISIONS[precision]
    bits = str(_BITS[dtype]).removeprefix("torch.")
    fields = [Field(str(n), stored_shape(part.shape), bits) for n, part in enumerate(boundary)]
    names = [part.name for part in boundary]
    stores = []
    for view in views:
        facts = {"of": key, "precision": precision, "crossings": names, "view": view}
        folder = cache_dir / KIND / store_key(facts, fields)
        stores.append(ShardedStore(folder, fields, facts))
    return FeatureStore(stores, keys, boundary, dtype)


def feature_bytes(boundary: tuple[BoundaryTensor, ...], dtype: torch.dtype) -> int:
    """Return the bytes of one photo in one view."""
    return sum(torch.Size(tensor.shape).numel() for tensor in boundary) * dtype.itemsize


def stored_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return how features of a shape lie in memory: maps with their channels last."""
    return (shape[1], shape[2], shape[0]) if len(shape) == 3 else shape


def view_names(num_views: int, rotation: float, seed: int) -> tuple[str, ...]:
    """Return the names of the views; all but the first, plain one depend on the augmentation."""
    drawn = (f"{view}-rotation-{rotation:g}-seed-{seed}" for view in range(1, num_views))
    return "plain", *drawn


class MissingSampler(Sampler[tuple[int, np.ndarray]]):
    """Yields `(view, slots)`: what a store lacks, in batches of one length, the last padded.

    Args:
        store: The store to fill.
        wanted: The slots that each view must have in the end.
        batch_size: Photos of a batch.
    """

    def __init__(self, store: FeatureStore, wanted: list[np.ndarray], batch_size: int) -> None:
        self.missing = [np.sort(store.missing(view, slots)) for view, slots in enumerate(wanted)]
        self.part_size = batch_size

    @property
    def num_photos(self) -> int:
        """Photos to compute, one counted in each view that lacks it."""
        return sum(map(len, self.missing))

    def __len__(self) -> int:
        """Return the batches."""
        return sum(-(-len(slots) // self.part_size) for slots in self.missing)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """Iterate over the batches, view after view."""
        for view, slots in enumerate(self.missing):
            padded = np.pad(slots, (0, -len(slots) % self.part_size), constant_values=PADDING)
            yield from ((view, batch) for batch in padded.reshape(-1, self.part_size))


def fill(
    store: FeatureStore,
    make_loader: Callable[[], Iterable[Batch]],
    compute: Callable[[Tensor], tuple[Tensor, ...]],
) -> None:
    """Compute what a store lacks; of two processes that want the same one, the second waits.

    Args:
        store: The store to fill.
        make_loader: Called once no other process is filling it; yields its photos in the order of
            a `MissingSampler`, which is the loader's `sampler`.
        compute: Turns uint8 photos `(B, 3, H, W)` into their features, on the host.

    Raises:
        OSError: The disk lacks the room.
    """
    if not make_loader().sampler.num_photos:  # type: ignore[attr-defined]
        return
    with ExitStack() as stack:
        # All views at once and in this order, so that no two processes wait for each other.
        adders = [stack.enter_context(view.adding()) for view in store.views]
        store.look()
        loader = make_loader()
        sampler: MissingSampler = loader.sampler  # type: ignore[attr-defined]
        if not sampler.num_photos:  # the process that was waited for has filled it
            return
        _check_room(store, sampler.num_photos)
        bar = stack.enter_context(
            tqdm(total=sampler.num_photos, desc="Computing features", unit="photo", disable=None)
        )
        for (view, slots), batch in zip(sampler, loader, strict=True):
            assert isinstance(batch.inputs, Tensor)
            real = slots != PADDING
            features = [part[torch.from_numpy(real)] for part in compute(batch.inputs)]
            with _naming_the_way_out(store):
                store.add(adders[view], slots[real], features)
            bar.update(int(real.sum()))
    store.look()


@contextmanager
def _naming_the_way_out(store: FeatureStore) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL:
            folder = store.views[0].cache_dir
            raise OSError(f"The disk of {folder} is full. {_ways_out(store)}") from error
        raise


def _check_room(store: FeatureStore, num_photos: int) -> None:
    num_bytes = num_photos * store.bytes_per_photo
    folder = store.views[0].folder
    free = shutil.disk_usage(folder).free
    size = f"The features of {num_photos:,} photos ({_views(store)}) take {size_text(num_bytes)}"
    log.info("%s in %s", size, folder.parent)
    if num_bytes > free:
        raise OSError(f"{size}, but {size_text(free)} are free. {_ways_out(store)}")


def _ways_out(store: FeatureStore) -> str:
    return (
        f"data.views={len(store.views)}: pass fewer, 0 to train without a store, a smaller "
        "model.input_size, data.cache_dir on a larger disk, or delete stores "
        "(fashion cache)."
    )


def _views(store: FeatureStore) -> str:
    return f"{len(store.views)} views" if len(store.views) > 1 else "1 view"
