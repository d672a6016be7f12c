"""FashionDataModule: a catalogue as loaders for training, validation and prediction."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule

from fashion.attributes import Heads
from fashion.catalogue.root import CatalogueRoot
from fashion.catalogue.split_catalogue import SplitCatalogue
from fashion.data.batches import (
    PADDING,
    Batch,
    BatchLoader,
    DeviceLoader,
    ProductDataset,
)
from fashion.data.feature_data import DeviceFeatures, FeatureDataset
from fashion.data.feature_store import (
    PRECISIONS,
    FeatureStore,
    MissingSampler,
    feature_bytes,
    fill,
    open_features,
    view_names,
)
from fashion.data.loaders import BatchPlan
from fashion.data.photo_store import PhotoStore
from fashion.data.preparation import (
    LoadedCatalogue,
    catalogue_facts,
    load,
    pack,
    prepare_labelled,
    split,
)
from fashion.data.settings import SAMPLERS, DataSettings
from fashion.files import size_text
from fashion.models.cut import BoundaryTensor

MAX_SEED = 2**32 - 1  # NumPy takes none above


class FashionDataModule(LightningDataModule):
    """A catalogue as three loaders; nothing is read before `load_catalogue` or `setup`.

    Args:
        settings: The run's.
        input_size: Side of the network's input, in pixels.
        interpolation: By which photos are resized to it, as the network's weights expect.
        seed: Seeds order and augmentation.

    Attributes:
        store: The packed photos, from `setup` on.
        features: What training and validation read instead of photos, from `fill_features` on.
        device_features: The same on the device, from `keep_on_device` on.
    """

    def __init__(
        self, settings: DataSettings, *, input_size: int, interpolation: str, seed: int
    ) -> None:
        super().__init__()
        if isinstance(seed, bool) or not (isinstance(seed, int) and 0 <= seed <= MAX_SEED):
            raise ValueError(f"seed={seed!r} must be a whole number, 0 or more, up to {MAX_SEED}.")
        if isinstance(input_size, bool) or not (isinstance(input_size, int) and input_size > 0):
            raise ValueError(f"model.input_size={input_size!r} must be a number of pixels above 0.")
        self.settings = settings
        self.input_size = input_size
        self.interpolation = interpolation
        self.seed = seed
        self.store: PhotoStore | None = None
        self.features: FeatureStore | None = None
        self.device_features: DeviceFeatures | None = None
        self._loaded: LoadedCatalogue | None = None
        self._splits: SplitCatalogue | None = None

    @property
    def splits(self) -> SplitCatalogue:
        """The photos with their splits; those of `load_catalogue` know no twins until `setup`."""
        if self._splits is None:
            raise RuntimeError("FashionDataModule.load_catalogue has not been called.")
        return self._splits

    @property
    def packed(self) -> PhotoStore:
        """The packed photos."""
        if self.store is None:
            raise RuntimeError("FashionDataModule.setup has not been called.")
        return self.store

    @property
    def root(self) -> CatalogueRoot:
        """What reads the photos' files."""
        return self.load_catalogue().root

    @property
    def plan(self) -> BatchPlan:
        """How batches are shared out among the trainer's devices and processes."""
        settings = self.settings
        return BatchPlan.of_trainer(settings.batch_size, settings.num_workers, self.trainer)

    def load_catalogue(self) -> LoadedCatalogue:
        """Read and check the table at the first call, without decoding a photo.

        Raises:
            FileNotFoundError: No catalogue lies at `data.root`.
            ValueError: The catalogue or a setting can't be used.
        """
        if self._loaded is None:
            self._loaded = load(self.settings)
            self._splits = self._loaded.provisional_splits()
            self._check_sizes()
        return self._loaded

    def setup(self, stage: str | None = None) -> None:
        """Pack the photos where that hasn't been done, and draw the splits.

        Raises:
            ValueError: As `load_catalogue`, or the training split is smaller than a batch.
            OSError: The disk lacks the room.
        """
        if self.store is None:
            loaded = self.load_catalogue()
            self.store = pack(loaded, self.input_size, self.interpolation)
            self._splits = split(loaded, self.store.unreadable)
            self._check_sizes()

    def serve_all(self, heads: Heads) -> None:
        """Take the place of `setup`: serve each photo of a model's classes as the split `all`.

        There may be fewer photos than a batch, which shrinks to what the devices need.

        Raises:
            ValueError: As `fashion.data.preparation.prepare_labelled`.
            OSError: The disk lacks the room.
        """
        self._loaded, self.store, self._splits = prepare_labelled(
            self.settings, heads, self.input_size, self.interpolation
        )
        batch_size = self.plan.enough_for(len(self._splits.table))
        self.settings = replace(self.settings, batch_size=batch_size)

    def num_batches(self, split: str) -> int:
        """Return how many batches of a split this process has in an epoch."""
        num_rows = len(self.splits.rows(split))
        plan = self.plan
        sampler = plan.shuffled(num_rows, 0) if split == "train" else plan.ordered(num_rows)
        return len(sampler)

    def facts(self) -> dict[str, object]:
        """Return what a summary says of the data: counts, settings, the hash of the splits."""
        return {
            **catalogue_facts(self.load_catalogue(), self.splits),
            "input_size": self.input_size,
            "fit": self.settings.fit,
            "views": self.settings.views if self.features is not None else 0,
        }

    def fill_features(
        self,
        key: str,
        boundary: tuple[BoundaryTensor, ...],
        compute: Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
    ) -> None:
        """Compute the features of training and validation photos where that hasn't been done.

        From then on the loaders of both splits yield features.

        Args:
            key: All that decides the features beside the photos.
            boundary: What crosses the model's cut.
            compute: See `fashion.data.feature_store.fill`.

        Raises:
            OSError: The disk lacks the room.
        """
        photos, settings = self.packed, self.settings
        self.features = open_features(
            settings.cache_folder,
            f"{photos.shards.folder.name} {key}",
            photos.keys,
            boundary,
            precision=settings.views_precision,
            views=view_names(settings.views, settings.rotation, self.seed),
        )
        fill(self.features, self._missing_views, compute)

    def num_kept_photos(self) -> int:
        """Return of how many photos features are kept, one counted in each view."""
        train, val = (len(self.splits.rows(name)) for name in ("train", "val"))
        return self.settings.views * train + val

    def fits_device(
        self, device: torch.device, boundary: tuple[BoundaryTensor, ...], free: int | None
    ) -> bool:
        """Return whether the features are to lie in the device's memory.

        Args:
            device: The one that trains.
            boundary: What crosses the model's cut.
            free: Bytes that it has left, if that is known.

        Raises:
            ValueError: They are, but it lacks the room.
        """
        wanted, num_photos = self.settings.views_on_device, self.num_kept_photos()
        precision = PRECISIONS[self.settings.views_precision]
        num_bytes = num_photos * feature_bytes(boundary, precision)
        if wanted is None:
            return device.type == "cuda" and free is not None and 2 * num_bytes <= free
        if wanted and free is not None and num_bytes > free:
            raise ValueError(
                f"data.views_on_device=true: the features of {num_photos:,} photos take "
                f"{size_text(num_bytes)}, but {size_text(free)} are free on {device}. Pass "
                "data.views_on_device=false, fewer data.views or a smaller model.input_size."
            )
        return wanted

    def keep_on_device(
        self,
        device: torch.device,
        send: Callable[[torch.Tensor], torch.Tensor] = lambda part: part,
    ) -> None:
        """Bring the features to a device; the loaders then yield their places there.

        Args:
            device: As in `DeviceFeatures`.
            send: As in `DeviceFeatures`.
        """
        assert self.features is not None
        self.device_features = DeviceFeatures(self.features, self._slots_by_view(), device, send)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Take the features whose places a batch names."""
        places = batch.inputs
        if self.device_features is None or not isinstance(places, torch.Tensor) or places.ndim > 1:
            return batch
        return batch._replace(inputs=self.device_features.gather(places))

    def teardown(self, stage: str) -> None:
        """Free the device's memory of features when training is over."""
        if stage == "fit":
            self.device_features = None

    def train_dataloader(self) -> BatchLoader | DeviceLoader:
        """Return augmented, shuffled batches."""
        loader = self.loader("train", evaluate=False)
        if self.trainer is not None:
            # Lightning starts a resumed epoch's iterator before it tells the sampler the epoch.
            loader.sampler.set_epoch(self._epoch())
            loader.progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return self._read_ahead(loader)

    def val_dataloader(self) -> BatchLoader | DeviceLoader:
        """Return the validation photos in order."""
        return self._read_ahead(self.loader("val", evaluate=True))

    def loader(self, split: str, *, evaluate: bool, from_photos: bool = False) -> BatchLoader:
        """Return the batches of a split, in order to evaluate, else augmented and shuffled.

        Args:
            split: `train`, `val`, `test` or `all`.
            evaluate: In order, and as they are.
            from_photos: Yield photos even where there are features of them.
        """
        photos, settings, plan = self.packed, self.settings, self.plan
        slots, targets = self.slots(split), self.splits.targets(split)
        sampler = (
            plan.ordered(len(slots))
            if evaluate
            else plan.shuffled(len(slots), self.seed, self._chances(targets))
        )
        if self.features is not None and split in ("train", "val") and not from_photos:
            num_views = 1 if evaluate else settings.views
            kept = FeatureDataset(
                self.features, slots, targets, num_views, on_device=self.device_features
            )
            return BatchLoader(kept, batch_size=None, sampler=sampler)
        dataset = ProductDataset(
            photos,
            slots,
            targets,
            augment=not evaluate,
            rotation=settings.rotation,
            seed=self.seed,
        )
        return plan.load(dataset, sampler, persistent=not evaluate)

    def slots(self, split: str) -> np.ndarray:
        """Return the place of each row of a split in the packed photos."""
        return self.packed.slots(self.splits.rows(split)["id"])

    def photos(self, ids: Iterable[str]) -> np.ndarray:
        """Return photos as the network sees them, `(N, H, W, 3)` uint8, by their ids `(N,)`."""
        return self.packed.take(self.packed.slots(ids))

    def state_dict(self) -> dict[str, str]:
        """Return the hash of the splits, so that a checkpoint is never resumed on others."""
        return {"splits_sha256": self.splits.sha256()}

    def load_state_dict(self, state_dict: dict[str, str]) -> None:
        """Check that the splits are those of the checkpoint.

        Raises:
            ValueError: They differ, so photos trained on would be tested on.
        """
        if state_dict["splits_sha256"] != self.splits.sha256():
            raise ValueError(
                f"data.root={self.settings.root!r}: the catalogue's splits differ from those "
                "that ckpt_path was trained on. Pass the same catalogue and data settings, or "
                "start a new run."
            )

    def _chances(self, targets: np.ndarray) -> np.ndarray | None:
        power = SAMPLERS[self.settings.sampler]
        targets = self.splits.heads.targets(targets)[0]
        return np.bincount(targets)[targets] ** power if power else None

    def _slots_by_view(self) -> list[np.ndarray]:
        """Return the photos of which each view is kept: validation takes the plain one alone."""
        train, val = self.slots("train"), self.slots("val")
        trainer: Any = self.trainer
        if trainer is not None and trainer.fast_dev_run:
            # A trial of a few batches is not to wait for all the others.
            num_batches = trainer.limit_train_batches
            train, val = (
                slots[_first_rows(self.loader(name, evaluate=name == "val"), num_batches)]
                for name, slots in (("train", train), ("val", val))
            )
        return [np.concatenate([train, val]), *[train] * (self.settings.views - 1)]

    def _missing_views(self) -> BatchLoader:
        """Return the photos and views whose features aren't there yet."""
        photos, settings = self.packed, self.settings
        num_photos = len(photos)
        dataset = ProductDataset(
            photos,
            np.arange(num_photos),
            np.zeros(num_photos, np.int64),
            augment=True,
            rotation=settings.rotation,
            seed=self.seed,
            plain_first=True,
        )
        assert self.features is not None
        sampler = MissingSampler(self.features, self._slots_by_view(), settings.batch_size)
        return self.plan.load(dataset, sampler)

    def _read_ahead(self, loader: BatchLoader) -> BatchLoader | DeviceLoader:
        """Have a thread read features, which no worker could hand over as fast."""
        return loader if self.features is None else DeviceLoader(loader, lambda batch: batch)

    def _check_sizes(self) -> None:
        num_train, batch_size = len(self.splits.rows("train")), self.settings.batch_size
        if num_train < batch_size:
            raise ValueError(
                f"data.batch_size={batch_size} is larger than the training split of {num_train} "
                f"photos. Pass data.batch_size={num_train} or less."
            )

    def _epoch(self) -> int:
        current: Any = self.trainer.fit_loop.epoch_progress.current if self.trainer else None
        return current.processed if current else 0


def _first_rows(loader: BatchLoader, num_batches: int) -> np.ndarray:
    rows: np.ndarray = np.concatenate([rows for _, rows in islice(loader.sampler, num_batches)])
    kept: np.ndarray = rows[rows != PADDING]
    return kept
