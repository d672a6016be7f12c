"""FashionDataModule: a catalogue as loaders for training, validation and prediction."""

import logging
import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning import LightningDataModule

from fashion.catalogue.images import FITS
from fashion.catalogue.review import read_review
from fashion.catalogue.root import CatalogueRoot, open_root
from fashion.catalogue.sample import MARKER, draw_sample
from fashion.catalogue.split_catalogue import SplitCatalogue, split_catalogue
from fashion.catalogue.splits import KINDS
from fashion.catalogue.table import drop_unreadable, load_catalogue
from fashion.data.batches import (
    PADDING,
    Batch,
    BatchLoader,
    BatchSampler,
    DeviceLoader,
    ProductDataset,
    start_method,
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
from fashion.data.photo_store import PhotoStore, default_cache_dir, open_store
from fashion.models.backbone import pretrained_cfg
from fashion.models.cut import BoundaryTensor
from fashion.twins.twins import find_twins

# How likely a photo is drawn: to this power of the photos of its class.
SAMPLERS = {"shuffle": 0.0, "sqrt": -0.5, "balanced": -1.0}
log = logging.getLogger(__name__)


class FashionDataModule(LightningDataModule):
    """A catalogue as three loaders; nothing is read before `load_catalogue` or `setup`.

    Args:
        root: Folder or zip with styles.csv and images/, or with a folder of photos for each class;
            None stands for the drawn sample.
        table: The table's file name; None takes each folder of photos as a class.
        id_column: The table's column that names each row; None takes the photo's path.
        image_column: The column of the photos' paths; None: the photo is images/<id>.
        label_column: The column to classify by.
        min_images: Labels with fewer photos are dropped.
        malformed_rows: `skip` or `repair`.
        exclude: CSV of the ids to leave out, see `fashion.catalogue.review`.
        relabel: CSV of ids and the labels they get instead.
        fit: `squash` or `pad`, see `fashion.catalogue.images.decode_image`.
        rotation: Largest angle of the random rotation, in degrees.
        split: How the splits are drawn, stratified by label: `random`, or `grouped`, which has no
            photo's twins in another split.
        split_seed: Decides the splits, and nothing else does.
        folds: Cross-validate: so many folds take the place of the splits; None doesn't.
        fold: Which of them is tested on, from 0.
        sampler: `shuffle` takes each training photo once an epoch. `sqrt` and `balanced` draw as
            many, with replacement: a class as often as the square root of its photos, or as any.
        batch_size: Photos of one optimiser step, over all devices and processes.
        num_workers: Loader processes; None takes one less than the cores, 1 to 8.
        cache_dir: Where packed photos, features and the drawn sample are kept; None is the user's
            cache.
        backbone: timm's name; decides the interpolation.
        input_size: Side of the input, in pixels.
        seed: Seeds order and augmentation.
        views: How many views of each training photo, the first plain and the others augmented,
            are kept as features for all epochs to train from; 0 trains from the photos.
        views_precision: `bfloat16` or `float32`, in which features are kept.
        views_mirrored: Have each epoch mirror half of the stored maps, as if the photos were.
        views_on_device: Keep the features in the memory of the device that trains, too; None does
            so on a GPU with twice the room.
    """

    def __init__(
        self,
        root: str | None,
        *,
        label_column: str,
        min_images: int,
        malformed_rows: str,
        fit: str,
        rotation: float,
        split: str,
        split_seed: int,
        batch_size: int,
        num_workers: int | None,
        cache_dir: str | None,
        backbone: str,
        input_size: int,
        seed: int,
        table: str | None = "styles.csv",  # earlier checkpoints hold neither this nor the next ones
        id_column: str | None = "id",
        image_column: str | None = None,
        exclude: str | None = None,
        relabel: str | None = None,
        folds: int | None = None,
        fold: int = 0,
        sampler: str = "shuffle",
        views: int = 0,
        views_precision: str = "bfloat16",
        views_mirrored: bool = False,
        views_on_device: bool | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self._check_settings()
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
        self.store: PhotoStore | None = None
        self.features: FeatureStore | None = None  # from `fill_features` on
        self.device_features: DeviceFeatures | None = None  # from `keep_on_device` on
        self._splits: SplitCatalogue | None = None

    @property
    def splits(self) -> SplitCatalogue:
        """The photos with their splits; those of `load_catalogue` know no twins until `setup`."""
        if self._splits is None:
            raise RuntimeError("FashionDataModule.load_catalogue has not been called.")
        return self._splits

    @property
    def is_loaded(self) -> bool:
        """Whether there are `splits`."""
        return self._splits is not None

    def load_catalogue(self) -> None:
        """Read and check styles.csv, without decoding a photo.

        Raises:
            FileNotFoundError: No catalogue lies at `data.root`.
            ValueError: The catalogue or a setting can't be used.
        """
        if self.is_loaded:
            return
        hparams: Any = self.hparams
        if hparams.root is None:
            hparams.root = str(draw_sample(self.cache_dir))
        review = read_review(hparams.exclude, hparams.relabel)
        self.root: CatalogueRoot = open_root(hparams.root, hparams.table)
        catalogue = load_catalogue(
            self.root,
            hparams.label_column,
            hparams.min_images,
            hparams.malformed_rows,
            id_column=hparams.id_column,
            image_column=hparams.image_column,
            review=review,
        )
        # Groups need the photos, which `setup` reads; until then the sizes of the splits are known.
        self._splits = split_catalogue(catalogue, None, kind="random", seed=hparams.split_seed)
        self._check_sizes()
        for key in ("root", "exclude", "relabel"):  # a checkpoint is evaluated from any folder
            if hparams[key] is not None:
                hparams[key] = os.path.abspath(os.path.expanduser(hparams[key]))

    def setup(self, stage: str | None = None) -> None:
        """Pack the photos where that hasn't been done, and draw the splits.

        Raises:
            ValueError: As `load_catalogue`, or the training split is smaller than a batch.
            OSError: The disk lacks the room.
        """
        if self.store is not None:
            return
        self.load_catalogue()
        hparams: Any = self.hparams
        self.store = open_store(
            self.root,
            self.splits.table,
            hparams.input_size,
            hparams.fit,
            pretrained_cfg(hparams.backbone).interpolation,
            self.cache_dir,
        )
        self.settle(self.store.unreadable)

    def settle(self, unreadable: dict[str, str]) -> None:
        """Drop the photos that can't be decoded, find twins among the others, draw the splits.

        Args:
            unreadable: Maps an id to what is wrong with its photo.

        Raises:
            ValueError: As `load_catalogue`.
        """
        hparams: Any = self.hparams
        catalogue = drop_unreadable(
            self.splits.catalogue, unreadable, hparams.min_images, hparams.label_column
        )
        self._splits = split_catalogue(
            catalogue,
            find_twins(self.root, catalogue.table, self.cache_dir),
            kind=hparams.split,
            seed=hparams.split_seed,
            folds=hparams.folds,
            fold=hparams.fold,
        )
        self._check_sizes()
        log.info(catalogue.describe())
        log.info(self.splits.describe_twins())

    def restrict_to(self, class_names: list[str]) -> None:
        """Keep the rows of these classes, in this order of targets, for a model of just these.

        Raises:
            ValueError: There is none.
        """
        splits = self.splits.restricted_to(class_names)
        if splits.table.empty:
            raise ValueError(
                f"data.root={self.hparams['root']!r} has no photo of the classes that ckpt_path "
                f"knows, such as {class_names[0]!r}. Pass a catalogue that does."
            )
        self._splits = splits

    def facts(self) -> dict[str, object]:
        """Return what a summary says of the data: counts, settings, the hash of the splits."""
        hparams: Any = self.hparams
        return {
            "root": hparams.root,
            "drawn_sample": Path(hparams.root, MARKER).exists(),
            **self.splits.facts(),
            "label_column": hparams.label_column,
            "min_images": hparams.min_images,
            "split": hparams.split,
            "split_seed": hparams.split_seed,
            **({"folds": hparams.folds, "fold": hparams.fold} if hparams.folds else {}),
            "splits_sha256": self.splits.sha256(),
            "input_size": hparams.input_size,
            "fit": hparams.fit,
            "views": hparams.views if self.features is not None else 0,
            "views_mirrored": hparams.views_mirrored and self.features is not None,
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
        photos = self.store
        assert photos is not None
        hparams: Any = self.hparams
        num_photos = len(photos.ids)
        store = open_features(
            self.cache_dir,
            f"{photos.folder.name} {key}",
            num_photos,
            boundary,
            precision=hparams.views_precision,
            views=view_names(hparams.views, hparams.rotation, hparams.seed),
        )

        def loader() -> BatchLoader:
            dataset = ProductDataset(
                photos,
                np.arange(num_photos),
                np.zeros(num_photos, np.int64),
                augment=True,
                rotation=hparams.rotation,
                seed=hparams.seed,
                plain_first=True,
            )
            sampler = MissingSampler(store, self._slots_by_view(), hparams.batch_size)
            return self._batches(dataset, sampler)

        fill(store, loader, compute)
        self.features = store

    def num_kept_photos(self) -> int:
        """Return of how many photos features are kept, one counted in each view."""
        train, val = (len(self.splits.rows(split)) for split in ("train", "val"))
        return int(self.hparams["views"]) * train + val

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
        hparams: Any = self.hparams
        wanted = hparams.views_on_device
        num_photos = self.num_kept_photos()
        num_bytes = num_photos * feature_bytes(boundary, PRECISIONS[hparams.views_precision])
        if wanted is None:
            return device.type == "cuda" and free is not None and 2 * num_bytes <= free
        if wanted and free is not None and num_bytes > free:
            raise ValueError(
                f"data.views_on_device=true: the features of {num_photos:,} photos take "
                f"{num_bytes / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free on {device}. Pass "
                "data.views_on_device=false, fewer data.views or a smaller model.input_size."
            )
        return bool(wanted)

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
        assert self.store is not None
        rows = self.splits.rows(split)
        hparams: Any = self.hparams
        slots = self._slots(split)
        targets = pd.Categorical(rows["label"], categories=self.splits.class_names).codes.astype(
            np.int64
        )
        train = not evaluate
        share = self._share()
        sampler = BatchSampler(
            len(rows),
            hparams.batch_size,
            num_parts=share["num_replicas"] * (self._accumulate() if train else 1),
            rank=share["rank"],
            world_size=share["num_replicas"],
            shuffle_seed=hparams.seed if train else None,
            chances=self._chances(targets) if train else None,
        )
        if self.features is not None and split in ("train", "val") and not from_photos:
            kept = FeatureDataset(
                self.features,
                slots,
                targets,
                num_views=hparams.views if train else 1,
                mirror_seed=hparams.seed if train and hparams.views_mirrored else None,
                on_device=self.device_features,
            )
            return BatchLoader(kept, batch_size=None, sampler=sampler)
        dataset = ProductDataset(
            self.store, slots, targets, augment=train, rotation=hparams.rotation, seed=hparams.seed
        )
        return self._batches(dataset, sampler, persistent=train)

    def photos(self, ids: np.ndarray) -> np.ndarray:
        """Return photos as the network sees them, `(N, H, W, 3)` uint8, by their ids `(N,)`."""
        assert self.store is not None
        places = pd.Series(range(len(self.store.ids)), index=self.store.ids)
        taken: np.ndarray = self.store.photos[places[ids].to_numpy()]
        return taken

    def changed_loader(
        self, split: str, rows: np.ndarray, changes: Sequence[Callable[[np.ndarray], np.ndarray]]
    ) -> BatchLoader:
        """Return some photos of a split under each change in turn, in order.

        Args:
            split: As in `loader`.
            rows: `(N,)` their places in the split.
            changes: As in `ProductDataset`, here one for all photos; there are `N * len(changes)`
                rows.
        """
        assert self.store is not None
        slots = np.tile(self._slots(split)[rows], len(changes))
        each = [change for change in changes for _ in rows]
        return self._photos_in_order(self.store, slots, each)

    def unknown_loader(self) -> BatchLoader | None:
        """Return the photos of labels that were dropped as rare; None where there are none."""
        hparams: Any = self.hparams
        rows = self.splits.catalogue.rare
        if rows.empty:
            return None
        interpolation = pretrained_cfg(hparams.backbone).interpolation
        store = open_store(
            self.root, rows, hparams.input_size, hparams.fit, interpolation, self.cache_dir
        )
        readable = [slot for slot, id_ in enumerate(store.ids) if id_ not in store.unreadable]
        return self._photos_in_order(store, np.array(readable)) if readable else None

    def check_batch_size(self) -> None:
        """Check that `data.batch_size` can be shared out among the trainer's devices.

        Raises:
            ValueError: It can't; the sentence names the nearest sizes that can.
        """
        strategy: Any = self.trainer.strategy if self.trainer else None
        devices = getattr(strategy, "num_devices", self._share()["num_replicas"])
        accumulate = self._accumulate()
        parts = devices * accumulate
        size = int(self.hparams["batch_size"])
        if size % parts:
            below, above = size - size % parts, size - size % parts + parts
            nearest = " or ".join(str(number) for number in (below, above) if number)
            raise ValueError(
                f"data.batch_size={size} is the batch of one step over all devices and does not "
                f"divide by {parts} ({devices} devices x "
                f"trainer.accumulate_grad_batches={accumulate}). "
                f"Pass data.batch_size={nearest}."
            )

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
                f"data.root={self.hparams['root']!r}: the catalogue's splits differ from those "
                "that ckpt_path was trained on. Pass the same catalogue and data settings, or "
                "start a new run."
            )

    def _chances(self, targets: np.ndarray) -> np.ndarray | None:
        power = SAMPLERS[self.hparams["sampler"]]
        return np.bincount(targets)[targets] ** power if power else None

    def _slots(self, split: str) -> np.ndarray:
        """Return the place of each row of a split in the photo store."""
        assert self.store is not None
        places = pd.Series(range(len(self.store.ids)), index=self.store.ids)
        return places[self.splits.rows(split)["id"]].to_numpy()

    def _slots_by_view(self) -> list[np.ndarray]:
        """Return the photos of which each view is kept: validation takes the plain one alone."""
        train, val = self._slots("train"), self._slots("val")
        trainer: Any = self.trainer
        if trainer is not None and trainer.fast_dev_run:
            # A trial of a few batches is not to wait for all the others.
            num_batches = trainer.limit_train_batches
            train, val = (
                slots[_first_rows(self.loader(split, evaluate=split == "val"), num_batches)]
                for split, slots in (("train", train), ("val", val))
            )
        return [np.concatenate([train, val]), *[train] * (self.hparams["views"] - 1)]

    def _photos_in_order(
        self,
        store: PhotoStore,
        slots: np.ndarray,
        changes: Sequence[Callable[[np.ndarray], np.ndarray]] | None = None,
    ) -> BatchLoader:
        """Return photos without targets, for predictions beside the splits."""
        share = self._share()
        sampler = BatchSampler(
            len(slots),
            self.hparams["batch_size"],
            num_parts=share["num_replicas"],
            rank=share["rank"],
            world_size=share["num_replicas"],
        )
        targets = np.zeros(len(slots), np.int64)
        dataset = ProductDataset(
            store, slots, targets, augment=False, rotation=0, seed=0, changes=changes
        )
        return self._batches(dataset, sampler)

    def _batches(
        self,
        dataset: ProductDataset,
        sampler: BatchSampler | MissingSampler,
        *,
        persistent: bool = False,
    ) -> BatchLoader:
        workers = self.hparams["num_workers"]
        workers = min(8, max(1, (os.cpu_count() or 1) - 1)) if workers is None else workers
        return BatchLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=workers,
            multiprocessing_context=start_method() if workers else None,
            persistent_workers=persistent and workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _read_ahead(self, loader: BatchLoader) -> BatchLoader | DeviceLoader:
        """Have a thread read features, which no worker could hand over as fast."""
        return loader if self.features is None else DeviceLoader(loader, lambda batch: batch)

    def _check_sizes(self) -> None:
        num_train, batch_size = len(self.splits.rows("train")), self.hparams["batch_size"]
        if num_train < batch_size:
            raise ValueError(
                f"data.batch_size={batch_size} is larger than the training split of {num_train} "
                f"photos. Pass data.batch_size={num_train} or less."
            )

    def _epoch(self) -> int:
        current: Any = self.trainer.fit_loop.epoch_progress.current if self.trainer else None
        return current.processed if current else 0

    def _share(self) -> dict[str, int]:
        """Return into how many shares processes divide each batch, and which is this one's."""
        strategy: Any = self.trainer.strategy if self.trainer else None
        share: dict[str, int] = getattr(
            strategy, "distributed_sampler_kwargs", {"num_replicas": 1, "rank": 0}
        )
        return share

    def _accumulate(self) -> int:
        return self.trainer.accumulate_grad_batches if self.trainer else 1

    def _check_settings(self) -> None:
        hparams: Any = self.hparams
        for key, value, choices in (
            ("data.fit", hparams.fit, FITS),
            ("data.split", hparams.split, KINDS),
            ("data.sampler", hparams.sampler, tuple(SAMPLERS)),
            ("data.views_precision", hparams.views_precision, tuple(PRECISIONS)),
        ):
            if value not in choices:
                raise ValueError(f"{key}={value!r} is unknown; pass {' or '.join(choices)}.")
        for key, kinds in (("views_mirrored", (bool,)), ("views_on_device", (bool, type(None)))):
            if not isinstance(hparams[key], kinds):
                null = " or null" if type(None) in kinds else ""
                raise ValueError(f"data.{key}={hparams[key]!r}: pass true, false{null}.")
        folds, fold = hparams.folds, hparams.fold
        if folds is not None and not (isinstance(folds, int) and folds >= 2):
            raise ValueError(f"data.folds={folds!r}: pass a number of 2 or more, or null.")
        if not isinstance(fold, int) or not 0 <= fold < (folds or 1):
            raise ValueError(
                f"data.fold={fold!r}: pass one from 0 to {folds - 1} with data.folds={folds}."
                if folds
                else f"data.fold={fold!r} needs data.folds, the number of folds."
            )
        least = {"batch_size": 1, "min_images": 1, "rotation": 0, "split_seed": 0, "seed": 0}
        least["views"] = 0
        for key, lowest in least.items():
            kind = (int, float) if key == "rotation" else int
            if not isinstance(hparams[key], kind) or hparams[key] < lowest:
                raise ValueError(f"data.{key}={hparams[key]!r} must be {lowest} or more.")


def _first_rows(loader: BatchLoader, num_batches: int) -> np.ndarray:
    rows: np.ndarray = np.concatenate([rows for _, rows in islice(loader.sampler, num_batches)])
    kept: np.ndarray = rows[rows != PADDING]
    return kept
