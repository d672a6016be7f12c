"""Rewrite a run's report from its checkpoint.

Model, class names, preprocessing and data settings come from the checkpoint, so that it works
wherever the package is installed.
"""

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException

from fashion.catalogue.splits import SPLITS
from fashion.data.datamodule import FashionDataModule
from fashion.data.trained_settings import is_elsewhere, trained_settings
from fashion.devices.accelerators import trainer_arguments
from fashion.labelling.checkpoint_models import load_attribute_calibrations, load_calibration
from fashion.models import checkpoints
from fashion.reports.run_report import check_robustness_photos, report_on
from fashion.training.classifier import ProductClassifier
from fashion.training.run_folder import RunFolder
from fashion.training.trained_splits import TrainedSplits
from fashion.wording import did_you_mean


def evaluate(
    ckpt_path: str | Path,
    *,
    split: str = "test",
    output_dir: str | Path | None = None,
    data: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    robustness_photos: int | None = None,
) -> dict[str, Any]:
    """Report on a checkpoint; see `report_on`.

    Args:
        ckpt_path: A checkpoint that a run wrote.
        split: `train`, `val`, `test`, or `all` for every photo of a class that the model knows, of
            the catalogue that it was trained on or of any other.
        output_dir: Where the report goes; None is the checkpoint's run folder.
        data: Data settings that replace the checkpoint's.
        trainer: Arguments of Lightning's Trainer.
        robustness_photos: How many photos are blurred, darkened and so on; None: as many as
            cost no more than the split did; 0: none.

    Raises:
        FileNotFoundError: The checkpoint or the catalogue isn't there.
        ValueError: A setting is unknown, or the catalogue's splits aren't those of the training.
    """
    if split not in (*SPLITS, "all"):
        raise ValueError(f"split={split!r} is unknown; pass train, val, test or all.")
    check_robustness_photos(robustness_photos)
    checkpoint = checkpoints.read(ckpt_path)
    config, preprocessing = checkpoint["run"]["config"], checkpoint["preprocessing"]
    datamodule = FashionDataModule(
        trained_settings(config["data"], data or {}, of_any_photos=split == "all"),
        input_size=preprocessing["input_size"],
        interpolation=preprocessing["interpolation"],
        seed=config["seed"],
    )
    datamodule.trainer = runner = _build_trainer(trainer)
    classifier = ProductClassifier.restore(checkpoint)
    run = RunFolder.of_checkpoint(ckpt_path)
    splits = TrainedSplits(run, checkpoint["FashionDataModule"]["splits_sha256"])
    trained_ids = None
    if split == "all":
        datamodule.serve_all(classifier.heads)
        if not is_elsewhere(config["data"].get("root"), data or {}):
            trained_ids = splits.trained_ids()
    else:
        datamodule.plan.check()
        splits.set_up(datamodule)
    epochs = pd.DataFrame(checkpoint["run"]["epochs"])
    calibration = load_calibration(checkpoint)
    return report_on(
        runner,
        classifier,
        datamodule,
        config=config,
        history=pd.read_csv(run.history) if run.history.exists() else epochs,
        split=split,
        output_dir=Path(output_dir) if output_dir else run.path,
        ckpt_path=Path(ckpt_path),
        is_loaded=True,
        calibration=calibration,
        of_attributes=load_attribute_calibrations(checkpoint),
        robustness_photos=robustness_photos,
        trained_ids=trained_ids,
    )


def _checked(group: str, given: dict[str, Any] | None, keys: Iterable[str]) -> dict[str, Any]:
    """Return the settings of a group when it has such keys."""
    if not isinstance(given or {}, dict):
        raise ValueError(f"{group}={given!r} is no setting; pass {group}.KEY=VALUE.")
    unknown = sorted((given or {}).keys() - set(keys))
    if unknown:
        names = sorted(keys)
        hint = did_you_mean(f"{group}.{unknown[0]}", [f"{group}.{name}" for name in names])
        raise ValueError(f"{group}.{unknown[0]} is unknown{hint}; there are {', '.join(names)}.")
    return given or {}


def _build_trainer(settings: dict[str, Any] | None) -> Trainer:
    settings = _checked("trainer", settings, inspect.signature(Trainer).parameters)
    own = {"logger": False, "enable_checkpointing": False, "use_distributed_sampler": False}
    on_xla = trainer_arguments(settings)
    try:
        return Trainer(**{**own, **settings, **on_xla})
    except (MisconfigurationException, TypeError, ValueError) as error:
        asked = ", ".join(f"trainer.{key}={value!r}" for key, value in settings.items())
        raise ValueError(f"Lightning can't evaluate with {asked}: {error}") from error
