"""The feature store: what crosses a network's cut, computed once for each photo and view.

A photo's features are those of its plain view or of one that was augmented as in an epoch of
ordinary training. Views are filled photo by photo, so an interrupted run goes on where it was, and
another split or number of views computes only what is not there yet.
"""

import hashlib
import json
import logging
import os
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler
from tqdm import tqdm

from fashion.cache_folder import FULL, make_folder, reading, remove, writing
from fashion.data.batches import PADDING, Batch, channels_first, channels_last, check_places
from fashion.data.settings import VIEW_PRECISIONS
from fashion.files import size_text, write_all, write_file
from fashion.locks import alone, hold
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

    They aren't deleted for as long as there is one of these, where the disk has locks. A view that
    lost a part, as the sizes of its files tell, counts as one of which nothing was computed yet.

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
        check_places(slots, self.num_photos)
        missing: np.ndarray = slots[self.done(view)[slots] == 0]
        return missing

    def done(self, view: int) -> np.ndarray:
        """Return of each photo whether its features are there, `(N,)` uint8 of 0 and 1."""
        with reading(self.folder.parent.parent):
            if self.damage(view) is not None:
                return np.zeros(self.num_photos, np.uint8)
            return np.fromfile(self.folder / self.views[view] / DONE, np.uint8)

    def damage(self, view: int) -> str | None:
        """Return what of a view isn't as it was written; `""` where nothing was written yet."""
        folder = self.folder / self.views[view]
        if not os.path.lexists(folder):
            return ""
        for name, size in self.file_sizes.items():
            path = folder / name
            if not path.is_file():
                return f"{path} is not there"
            if path.stat().st_size != size:
                return f"{path} has {path.stat().st_size:,} bytes, not {size:,}"
        if (np.fromfile(folder / DONE, np.uint8) > 1).any():
            return f"{folder / DONE} holds other values than 0 and 1"
        return None

    @property
    def file_sizes(self) -> dict[str, int]:
        """The bytes of each file of a view, by its name."""
        sizes = [torch.Size(part.shape).numel() * self.dtype.itemsize for part in self.boundary]
        names = {f"{number}.bin": size * self.num_photos for number, size in enumerate(sizes)}
        return {**names, DONE: self.num_photos}

    def read(self, view: int, slots: np.ndarray) -> tuple[Tensor, ...]:
        """Return the features of these photos, `(B, ...)` each; maps are channels last in memory.

        Raises:
            IndexError: Some are not there; there would be zeros in their place.
        """
        check_places(slots, self.num_photos)
        absent = slots[self._done[view][slots] == 0]
        if len(absent):
            raise IndexError(f"{self.folder} lacks the features of place {absent[0]}.")
        parts = []
        for array in self._arrays[view]:
            part = torch.from_numpy(np.take(array, slots, axis=0)).view(self.dtype)
            parts.append(channels_first(part))
        return tuple(parts)

    @cached_property
    def _done(self) -> list[np.ndarray]:
        return [self.done(view) for view in range(len(self.views))]

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

    Raises:
        OSError: The folder can't be written.
    """
    digest = hashlib.sha256(f"{FORMAT} {key} {precision} {num_photos} {_text(boundary)}".encode())
    folder = cache_dir / "features" / digest.hexdigest()[:16]
    shapes = {tensor.name: tensor.shape for tensor in boundary}
    index = {"photos": num_photos, "precision": precision, "crossings": shapes}
    held = _held(cache_dir, folder, json.dumps(index).encode())
    store = FeatureStore(folder, num_photos, boundary, PRECISIONS[precision], views)
    if held is not None:
        weakref.finalize(store, os.close, held).atexit = False
    return store


def _held(cache_dir: Path, folder: Path, index: bytes) -> int | None:
    """Hold the index of a store, written where it isn't as it should be."""
    while True:
        path = folder / INDEX
        with suppress(BlockingIOError):  # it is being deleted: `alone` waits for the end of that
            held = hold(path)
            if path.is_file() and path.read_bytes() == index:
                return held
            if held is not None:
                os.close(held)
        make_folder(cache_dir, folder.parent.name)
        with alone(folder, f"the store {folder}"), writing(cache_dir):
            if not folder.is_dir():
                remove(folder)
            folder.mkdir(exist_ok=True)
            if not path.is_file():
                remove(path)
            write_file(path, index)


def read_index(folder: Path) -> dict[str, object]:
    """Return what a store says of itself, nothing where that is damaged."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


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
    if not make_loader().sampler.num_photos:  # type: ignore[attr-defined]
        return
    make_folder(store.folder.parent.parent, f"{store.folder.parent.name}/{store.folder.name}")
    with alone(store.folder, f"the features in {store.folder}"):
        loader = make_loader()
        sampler: MissingSampler = loader.sampler  # type: ignore[attr-defined]
        if not sampler.num_photos:  # the process that was waited for has filled it
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
        self.view = view
        self.folder = store.folder / store.views[view]
        self.pending: list[np.ndarray] = []

    def __enter__(self) -> "_Writer":
        with _naming_the_way_out(self.store):
            if damage := self.store.damage(self.view):
                log.warning("%s, so this view is computed anew.", damage)
                remove(self.folder)
            self.folder.mkdir(exist_ok=True)
            self.stack = ExitStack()
            sizes = self.store.file_sizes
            *self.files, self.done = [
                self.stack.enter_context(_open_sparse(self.folder / name, size))
                for name, size in sizes.items()
            ]
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
                    write_all(file, rows.data)
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


def _open_sparse(path: Path, num_bytes: int) -> FileIO:
    path.touch()
    os.truncate(path, num_bytes)
    return path.open("r+b", buffering=0)


@contextmanager
def _naming_the_way_out(store: FeatureStore) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            message = f"The disk of {store.folder} is full. {_ways_out(store)}"
            raise OSError(message) from error
        with writing(store.folder.parent.parent):
            raise


def _check_room(store: FeatureStore, num_photos: int) -> None:
    num_bytes = num_photos * store.bytes_per_photo
    free = shutil.disk_usage(store.folder).free
    size = f"The features of {num_photos:,} photos ({_views(store)}) take {size_text(num_bytes)}"
    log.info("%s in %s", size, store.folder)
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
