"""The feature store: what crosses a network's cut, computed once for each photo and view.

A photo's features are those of its plain view or of one that was augmented as in an epoch of
ordinary training. Views are filled photo by photo, so an interrupted run goes on where it was, and
another split or number of views computes only what is not there yet.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import Sampler
from tqdm import tqdm

from fashion.data.batches import PADDING, Batch, channels_first, channels_last
from fashion.data.settings import VIEW_PRECISIONS
from fashion.models.cut import BoundaryTensor

FORMAT = 1
INDEX = "features.json"
DONE = "done.u8"
PRECISIONS: dict[str, torch.dtype] = {name: getattr(torch, name) for name in VIEW_PRECISIONS}
COMMIT_BYTES = 2**28  # written between two waits for the disk
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureStore:
    """Features on disk, `(N, ...)` for each tensor and view, memory-mapped when first read.

    Attributes:
        folder: Where it lies, one folder a view.
        num_photos: N, with room for each photo of the catalogue.
        boundary: What is kept of each photo.
        dtype: In which it is kept, float32 or bfloat16.
        views: Names of the views; the first is the plain one.
    """

    folder: Path
    num_photos: int
    boundary: tuple[BoundaryTensor, ...]
    dtype: torch.dtype
    views: tuple[str, ...]

    @property
    def bytes_per_photo(self) -> int:
        """Bytes of one photo in one view."""
        return feature_bytes(self.boundary, self.dtype)

    def missing(self, view: int, slots: np.ndarray) -> np.ndarray:
        """Return those of `slots` whose features are not there yet."""
        path = self.folder / self.views[view] / DONE
        done = np.fromfile(path, np.uint8) if path.exists() else np.zeros(0, np.uint8)
        missing: np.ndarray = slots[np.pad(done, (0, self.num_photos))[slots] == 0]
        return missing

    def read(self, view: int, slots: np.ndarray) -> tuple[Tensor, ...]:
        """Return the features of these photos, `(B, ...)` each; maps are channels last in memory.

        They have to be there.
        """
        parts = []
        for array in self._arrays[view]:
            part = torch.from_numpy(np.take(array, slots, axis=0, mode="clip")).view(self.dtype)
            parts.append(channels_first(part))
        return tuple(parts)

    @cached_property
    def _arrays(self) -> list[list[np.ndarray]]:
        shapes = [(self.num_photos, *stored_shape(tensor.shape)) for tensor in self.boundary]
        return [
            [
                np.memmap(self.folder / view / f"{number}.bin", _bits(self.dtype), "r", shape=shape)
                for number, shape in enumerate(shapes)
            ]
            for view in self.views
        ]


def open_features(
    cache_dir: Path,
    key: str,
    num_photos: int,
    boundary: tuple[BoundaryTensor, ...],
    *,
    precision: str,
    views: tuple[str, ...],
) -> FeatureStore:
    """Return the store of this key, made when missing, its views filled or not.

    Args:
        cache_dir: The folder of all stores.
        key: All that decides the features of the plain view: photos, weights, cut.
        num_photos: N.
        boundary: What crosses the cut.
        precision: `bfloat16` or `float32`.
        views: See `view_names`.
    """
    digest = hashlib.sha256(f"{FORMAT} {key} {precision} {num_photos} {_text(boundary)}".encode())
    folder = cache_dir / "features" / digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {tensor.name: tensor.shape for tensor in boundary}
    index = {"photos": num_photos, "precision": precision, "crossings": shapes}
    (folder / INDEX).write_text(json.dumps(index))
    return FeatureStore(folder, num_photos, boundary, PRECISIONS[precision], views)


def _text(boundary: tuple[BoundaryTensor, ...]) -> str:
    """Return the text that is part of a store's key: as first written, or none were found."""
    parts = ", ".join(f"Crossing(name={part.name!r}, shape={part.shape!r})" for part in boundary)
    return f"({parts},)" if len(boundary) == 1 else f"({parts})"


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
    with FileLock(f"{store.folder}.lock"):
        loader = make_loader()
        sampler: MissingSampler = loader.sampler  # type: ignore[attr-defined]
        if not sampler.num_photos:
            return
        _check_room(store, sampler.num_photos)
        bar = tqdm(total=sampler.num_photos, desc="Computing features", unit="photo", disable=None)
        with bar, ExitStack() as views:
            writers = {}
            for (view, slots), batch in zip(sampler, loader, strict=True):
                if view not in writers:
                    views.close()
                    writers = {view: views.enter_context(_Writer(store, view))}
                assert isinstance(batch.inputs, Tensor)
                real = slots != PADDING
                features = [part[torch.from_numpy(real)] for part in compute(batch.inputs)]
                writers[view].write(slots[real], features)
                bar.update(int(real.sum()))


class _Writer:
    """Writes features of one view; a photo counts as done once its features are on the disk."""

    def __init__(self, store: FeatureStore, view: int) -> None:
        self.store = store
        self.folder = store.folder / store.views[view]
        self.pending: list[np.ndarray] = []

    def __enter__(self) -> "_Writer":
        self.folder.mkdir(exist_ok=True)
        self.stack = ExitStack()
        names = [f"{number}.bin" for number in range(len(self.store.boundary))]
        *self.files, self.done = [
            self.stack.enter_context(_open_sparse(self.folder / name)) for name in [*names, DONE]
        ]
        for file, tensor in zip(self.files, self.store.boundary, strict=True):
            photo_bytes = torch.Size(tensor.shape).numel() * self.store.dtype.itemsize
            os.truncate(file.fileno(), self.store.num_photos * photo_bytes)
        os.truncate(self.done.fileno(), self.store.num_photos)
        return self

    def __exit__(self, kind: type | None, *args: object) -> None:
        with self.stack:
            # After Ctrl-C or SIGTERM what was computed counts; after a full disk nothing can.
            if kind is None or not issubclass(kind, OSError):
                self._commit()

    def write(self, slots: np.ndarray, features: list[Tensor]) -> None:
        """Write `(B, ...)` features to `(B,)` ascending slots."""
        runs = np.split(np.arange(len(slots)), np.flatnonzero(np.diff(slots) != 1) + 1)
        with _naming_the_way_out(self.store):
            for file, part in zip(self.files, features, strict=True):
                stored = channels_last(part).to(self.store.dtype)
                bits = stored.contiguous().view(_TORCH_BITS[self.store.dtype])
                for run in runs:
                    rows = bits[run[0] : run[-1] + 1].numpy()
                    file.seek(int(slots[run[0]]) * rows[0].nbytes)
                    _write_all(file, rows)
            self.pending.append(slots)
            if sum(map(len, self.pending)) * self.store.bytes_per_photo >= COMMIT_BYTES:
                self._commit()

    def _commit(self) -> None:
        with _naming_the_way_out(self.store):
            for file in self.files:
                os.fsync(file.fileno())
            for slot in np.concatenate(self.pending) if self.pending else ():
                self.done.seek(int(slot))
                self.done.write(b"\1")
            os.fsync(self.done.fileno())
        self.pending = []


_TORCH_BITS = {torch.bfloat16: torch.uint16, torch.float32: torch.float32}


def _bits(dtype: torch.dtype) -> type[np.generic]:
    return np.uint16 if dtype == torch.bfloat16 else np.float32


def _open_sparse(path: Path) -> FileIO:
    path.touch()
    return path.open("r+b", buffering=0)


def _write_all(file: FileIO, rows: np.ndarray) -> None:
    left = rows.data.cast("B")
    while left:
        left = left[file.write(left) :]


@contextmanager
def _naming_the_way_out(store: FeatureStore) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(f"The disk of {store.folder} is full. {_ways_out(store)}") from error


def _check_room(store: FeatureStore, num_photos: int) -> None:
    num_bytes = num_photos * store.bytes_per_photo
    free = shutil.disk_usage(store.folder).free
    size = f"The features of {num_photos:,} photos ({_views(store)}) take {num_bytes / 1e9:.1f} GB"
    log.info("%s in %s", size, store.folder)
    if num_bytes > free:
        raise OSError(f"{size}, but {free / 1e9:.1f} GB are free. {_ways_out(store)}")


def _ways_out(store: FeatureStore) -> str:
    return (
        f"data.views={len(store.views)}: pass fewer, 0 to train without a store, a smaller "
        "model.input_size, data.cache_dir on a larger disk, or delete stores "
        "(fashion cache)."
    )


def _views(store: FeatureStore) -> str:
    return f"{len(store.views)} views" if len(store.views) > 1 else "1 view"
