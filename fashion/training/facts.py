"""What a report says of a run beside its figures."""

import contextlib
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from fashion.data.datamodule import FashionDataModule
from fashion.models import checkpoints
from fashion.models.backbone import count_parameters, count_trainable
from fashion.training.classifier import ProductClassifier


def run_facts(
    config: dict[str, Any],
    history: pd.DataFrame,
    ckpt_path: Path | None,
    datamodule: FashionDataModule,
    classifier: ProductClassifier,
) -> dict[str, Any]:
    """Return what a report says of a run beside its figures; see `write_report`.

    The best epoch is that of the model's file, which the report is about.
    """
    data = datamodule.facts()
    seconds = history["seconds"].tolist() if len(history) else []
    epochs = (
        checkpoints.read(ckpt_path)["run"]["epochs"] if ckpt_path else history.to_dict("records")
    )
    best = epochs[-1] if epochs else {}
    return {
        "model": config["model_name"],
        "seed": config["seed"],
        "drawn_sample": data.pop("drawn_sample"),
        "data": data,
        "class_counts": datamodule.splits.class_counts(),
        "trainable_parameters": count_trainable(classifier.backbone),
        "total_parameters": count_parameters(classifier.backbone),
        "best_epoch": best.get("epoch"),
        "best_val_macro_auprc": best.get("val/macro_auprc"),
        "epochs": len(history),
        "seconds": {
            "total": round(sum(seconds), 1),
            "per_epoch": round(sum(seconds) / max(1, len(seconds)), 1),
        },
        "versions": versions(),
        "config": config,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide a run's figures."""
    installed = {"python": platform.python_version()}
    for name in (
        "fashion",
        "torch",
        "torch_xla",
        "lightning",
        "timm",
        "torchmetrics",
        "numpy",
        "pillow",
    ):
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed
