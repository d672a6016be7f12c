"""A trainer's model at work on splits: predictions, and what crosses its cut.

On any device and with several processes; `fashion.labelling` needs no trainer.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer

from fashion.attributes import MISSING
from fashion.data.batches import BatchLoader
from fashion.data.datamodule import FashionDataModule
from fashion.data.other_loaders import changed_loader, unknown_loader
from fashion.devices.accelerators import free_memory
from fashion.metrics.predictions import Predictions
from fashion.training.classifier import ProductClassifier
from fashion.training.evaluated import to_probabilities

log = logging.getLogger(__name__)


def predict_split(
    trainer: Trainer,
    classifier: ProductClassifier,
    datamodule: FashionDataModule,
    split: str,
    ckpt_path: str | Path | None = None,
) -> Predictions:
    """Predict one split in the order of the catalogue, each photo once.

    Args:
        trainer: Decides device, precision and processes; every process gets all predictions.
        classifier: The model.
        datamodule: Its catalogue, after `setup`.
        split: `train`, `val`, `test` or `all`.
        ckpt_path: Weights to load into the model first.
    """
    loader = datamodule.loader(split, evaluate=True, from_photos=True)
    parts, targets, rows = _predict(trainer, classifier, loader, ckpt_path)
    has_twin, heads = datamodule.splits.has_twin(split), classifier.heads
    of_label, *of_attributes = heads.targets(targets.numpy())
    predictions = Predictions(
        image_ids=datamodule.splits.rows(split)["id"].to_numpy(dtype=str)[rows.numpy()],
        probabilities=parts[0],
        targets=of_label,
        class_names=heads.class_names,
        has_twin=None if has_twin is None else has_twin[rows.numpy()],
    )
    others = zip(heads.attributes.items(), parts[1:], of_attributes, strict=True)
    attributes = {
        name: predictions.of_attribute(values, probabilities, own)
        for (name, values), probabilities, own in others
        if (own != MISSING).any()
    }
    return replace(predictions, attributes=attributes)


def predict_changed(
    trainer: Trainer,
    classifier: ProductClassifier,
    datamodule: FashionDataModule,
    split: str,
    rows: np.ndarray,
    changes: Sequence[Callable[[np.ndarray], np.ndarray]],
) -> np.ndarray:
    """Predict some photos of a split under each of several changes.

    Returns:
        `(len(changes), N, K)` float32, of the label; see
        `fashion.data.other_loaders.changed_loader`.
    """
    loader = changed_loader(datamodule, split, rows, changes)
    (probabilities, *_), _, _ = _predict(trainer, classifier, loader)
    return probabilities.reshape(len(changes), len(rows), -1)


def predict_unknown(
    trainer: Trainer,
    classifier: ProductClassifier,
    datamodule: FashionDataModule,
    photos: Iterable[str],
) -> np.ndarray | None:
    """Predict the label of photos of those dropped as rare, `(M, K)`; None where none can be read.

    The model can't know them, so that its confidence in them tells how it takes the unknown.

    Args:
        trainer: As in `predict_split`.
        classifier: The model, its weights loaded.
        datamodule: Its catalogue.
        photos: See `fashion.data.other_loaders.unknown_loader`.
    """
    loader = unknown_loader(datamodule, photos)
    return _predict(trainer, classifier, loader)[0][0] if loader else None


def _predict(
    trainer: Trainer,
    classifier: ProductClassifier,
    loader: BatchLoader,
    ckpt_path: str | Path | None = None,
) -> tuple[list[np.ndarray], torch.Tensor, torch.Tensor]:
    """Return probabilities `(N, K)` of each head, targets and rows, in the order of the rows."""
    trainer.predict(
        classifier, loader, ckpt_path=ckpt_path or None, return_predictions=False, weights_only=True
    )
    logits, targets, rows = classifier.collect()
    parts = [to_probabilities(part).numpy() for part in classifier.heads.outputs(logits)]
    return parts, targets, rows


def fill_features(
    trainer: Trainer, classifier: ProductClassifier, datamodule: FashionDataModule
) -> None:
    """Compute what training needs to know of each photo, once, where the model can be cut.

    Raises:
        OSError: The disk lacks the room.
        ValueError: Several TPU hosts take part, or the device lacks the room that it was asked for.
    """
    settings, cut_network = datamodule.settings, classifier.cut_network()
    if cut_network is None:
        log.warning(
            "data.views=%d has no effect: %s can't be cut in two (%s); it trains from the photos",
            *(settings.views, classifier.hparams["backbone"]),
            classifier.uncut_reason,
        )
        return
    strategy: Any = trainer.strategy
    on_xla = hasattr(strategy, "compute")
    if on_xla and strategy.distributed_sampler_kwargs["num_replicas"] > 1:
        raise ValueError(
            f"data.views={settings.views}: several TPU hosts can't fill a store "
            "together. Pass data.views=0, or train on one host."
        )
    device, boundary = strategy.root_device, cut_network.cut.boundary
    keeps_on_device = datamodule.fits_device(device, boundary, free_memory(device))
    classifier.prepare_cut_network(trainer, datamodule.num_kept_photos())

    def compute(photos: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if on_xla:
            return strategy.compute(cut_network.frozen, photos)  # type: ignore[no-any-return]
        features = cut_network.frozen(photos.to(device))
        return tuple(part.cpu() for part in features)

    datamodule.fill_features(cut_network.key(), boundary, compute)
    if keeps_on_device and on_xla:
        datamodule.keep_on_device(torch.device("cpu"), strategy.replicate)
    elif keeps_on_device:
        datamodule.keep_on_device(device)
