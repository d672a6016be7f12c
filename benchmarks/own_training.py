"""Times this project's own training: ordinary steps, filling a feature store, epochs from it.

Ordinary steps all take the same batch, which lies in memory, as the peers' do. The store is a
subset's, on the disk; its epochs go through the loaders of a run.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer, seed_everything
from machine import drop_page_cache
from steps import (
    SILENT,
    STUDY,
    StepClock,
    check_positive,
    load_settings,
    print_line,
    step_options,
)
from torch.utils.data import DataLoader, Dataset

from fashion.data.batches import Batch, BatchLoader, BatchSampler, DeviceLoader
from fashion.data.feature_data import FeatureDataset
from fashion.data.feature_store import FeatureStore, MissingSampler, fill, open_features
from fashion.data.settings import default_cache_dir
from fashion.models.cut_network import CutNetwork
from fashion.shards import KEY
from fashion.training.classifier import ProductClassifier


class EpochClock(StepClock):
    """Reads the clock around every training epoch and every evaluation, too.

    Args:
        chill: What is done before the second epoch; the first one may compile.
    """

    def __init__(self, chill: Callable[[], None]) -> None:
        super().__init__()
        self.chill = chill
        self.epochs: list[float] = []
        self.evaluations: list[float] = []
        self._starts = {"epoch": 0.0, "evaluation": 0.0}

    def on_train_epoch_start(self, *args: Any) -> None:
        """Start an epoch."""
        self._starts["epoch"] = time.perf_counter()

    def on_train_epoch_end(self, *args: Any) -> None:
        """Note when its last step ended: Lightning has evaluated since."""
        self.epochs.append(self.readings[-1] - self._starts["epoch"])

    def on_validation_epoch_start(self, *args: Any) -> None:
        """Start an evaluation."""
        self._starts["evaluation"] = time.perf_counter()

    def on_validation_epoch_end(self, *args: Any) -> None:
        """End an evaluation."""
        self.evaluations.append(time.perf_counter() - self._starts["evaluation"])
        if len(self.evaluations) == 1:
            self.chill()


class Photos(Dataset[Batch]):
    """Batches of random photos for the slots that a `MissingSampler` asks for."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __getitem__(self, item: tuple[int, np.ndarray]) -> Batch:
        """Return the one batch."""
        return self.batch


def build_classifier(options: argparse.Namespace) -> ProductClassifier:
    """Build a run's model from random weights."""
    settings = load_settings(options.model)
    given = {key: settings[key] for key in ("backbone", "unfreeze", "dropout", "label_smoothing")}
    optimizer = {key: settings["optimizer"][key] for key in ("lr", "weight_decay")}
    return ProductClassifier(
        STUDY["class_names"],
        **given,
        pretrained=False,
        weights=None,
        input_size=options.input_size or settings["input_size"],
        compile=options.compile,
        optimizer=partial(torch.optim.AdamW, **optimizer),
    )


def make_batch(batch_size: int, input_size: int) -> Batch:
    """Return random photos as a loader would."""
    photos = torch.randint(0, 256, (batch_size, input_size, input_size, 3), dtype=torch.uint8)
    targets = torch.randint(len(STUDY["class_names"]), (batch_size,))
    return Batch(photos.permute(0, 3, 1, 2), targets, torch.arange(batch_size))


def build_trainer(clock: StepClock, options: argparse.Namespace, max_epochs: int) -> Trainer:
    """Build the trainer of a run, without what writes files."""
    return Trainer(
        **SILENT,
        precision=options.precision,
        max_epochs=max_epochs,
        callbacks=[clock],
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def ordinary(classifier: ProductClassifier, options: argparse.Namespace) -> dict[str, Any]:
    """Time ordinary steps, from photos to the optimiser's step."""
    batch = make_batch(options.batch_size, classifier.hparams["input_size"])
    start = time.perf_counter()
    cut = classifier.cut_network()
    cut_seconds = time.perf_counter() - start
    clock = StepClock()
    batches = [batch] * (options.warmup + options.steps)
    build_trainer(clock, options, 1).fit(classifier, DataLoader(batches, batch_size=None))
    return {
        **clock.figures(options),
        "cut_seconds": round(cut_seconds, 2) if cut else None,
    }


def from_store(classifier: ProductClassifier, options: argparse.Namespace) -> dict[str, Any]:
    """Time filling a subset's store and the epochs from it, the second without the page cache."""
    cut_network = classifier.cut_network()
    assert cut_network is not None
    trainer = build_trainer(StepClock(), options, 1)
    classifier.prepare_cut_network(trainer, 0)
    cache_dir = default_cache_dir()
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=cache_dir) as folder:
        store = open_features(
            Path(folder), "", np.arange(2 * options.photos).view(KEY), cut_network.cut.boundary,
            precision="bfloat16", views=("plain",),
        )  # fmt: skip
        seconds = time_filling(store, cut_network, classifier.hparams["input_size"], options)

        def chill() -> None:
            for path in store.views[0].folder.glob("*/*.bin"):
                drop_page_cache(path)

        clock = EpochClock(chill)
        trainer = build_trainer(clock, options, options.epochs + 2)
        trainer.fit(classifier, loader(store, options, 0), loader(store, options, None))
    batches = options.photos // options.batch_size
    rates = [batches * options.batch_size / epoch for epoch in clock.epochs[1:]]
    evaluated = [options.photos / evaluation for evaluation in clock.evaluations]
    return {
        "fill_photos_per_second": round(options.batch_size / statistics.median(seconds[1:]), 3),
        "first_batch_seconds": round(seconds[0], 2),
        "cold_images_per_second": round(rates[0], 3),
        "images_per_second": round(statistics.median(rates[1:]), 3),
        "all_images_per_second": [round(rate, 3) for rate in rates],
        "evaluate_images_per_second": round(statistics.median(evaluated[1:]), 3),
        "photos": options.photos,
        "bytes_per_photo": store.bytes_per_photo,
    }


def time_filling(
    store: FeatureStore, cut_network: CutNetwork, input_size: int, options: argparse.Namespace
) -> list[float]:
    """Fill the store and return the seconds from each batch to the next, writing included."""
    readings = [time.perf_counter()]

    def compute(photos: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = cut_network.frozen(photos)
        readings.append(time.perf_counter())
        return features

    def photos() -> BatchLoader:
        sampler = MissingSampler(store, [np.arange(options.photos)], options.batch_size)
        batch = make_batch(options.batch_size, input_size)
        return BatchLoader(Photos(batch), batch_size=None, sampler=sampler)  # type: ignore[arg-type]

    fill(store, photos, compute)
    return [end - start for start, end in itertools.pairwise(readings)]


def loader(
    store: FeatureStore, options: argparse.Namespace, shuffle_seed: int | None
) -> DeviceLoader:
    """Return the loader of a run for training (`shuffle_seed`) or validation."""
    slots = np.arange(options.photos)
    targets = slots % len(STUDY["class_names"])
    sampler = BatchSampler(options.photos, options.batch_size, shuffle_seed=shuffle_seed)
    batches: Any = BatchLoader(
        FeatureDataset(store, slots, targets, 1),  # type: ignore[arg-type]
        batch_size=None,
        sampler=sampler,
    )
    return DeviceLoader(batches, lambda batch: batch)


MODES: dict[str, Callable[[ProductClassifier, argparse.Namespace], dict[str, Any]]] = {
    "ordinary": ordinary,
    "store": from_store,
}


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = step_options(__doc__.splitlines()[0], "bf16-mixed")
    parser.add_argument("--mode", choices=MODES, default="ordinary", help="default: %(default)s")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=False,
        help="compile both sides; default: no",
    )  # fmt: skip
    parser.add_argument("--photos", type=int, default=512, help="in the store; default: 512")
    parser.add_argument("--epochs", type=int, default=3, help="warm ones; default: %(default)s")
    options = parser.parse_args()
    check_positive(parser, options)
    if options.epochs < 1:
        parser.error("--epochs must be 1 at least")
    if options.photos < 2 * options.batch_size:
        parser.error("--photos must be two batches at least")
    return options


def main() -> None:
    """Measure and print the figures as one line of JSON."""
    options = parse()
    torch.set_num_threads(options.threads)
    seed_everything(0)
    classifier = build_classifier(options)
    figures = MODES[options.mode](classifier, options)
    size = {"input_size": classifier.hparams["input_size"]}
    print_line(f"fashion {options.mode}", options, size | figures)


if __name__ == "__main__":
    main()
