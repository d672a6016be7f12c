"""Rewrite a run's report from its checkpoint.

`fashion evaluate ckpt_path=RUN/checkpoints/best.ckpt [split=test] [output_dir=DIR]
[robustness_photos=500] [data.KEY=VALUE ...] [trainer.KEY=VALUE ...]` works wherever the package is
installed: model, class names, preprocessing and data settings come from the checkpoint.
"""

import inspect
import logging
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fashion.catalogue.splits import SPLITS
from fashion.data.datamodule import FashionDataModule
from fashion.data.settings import DataSettings
from fashion.devices.accelerators import trainer_arguments
from fashion.devices.xla import summary
from fashion.labelling.predict import load_calibration, load_classifier
from fashion.metrics.calibration import Calibration
from fashion.metrics.predictions import Predictions
from fashion.models import checkpoints
from fashion.reports.examine import calibrate, examine
from fashion.reports.report import write_report
from fashion.training.classifier import ProductClassifier
from fashion.training.facts import run_facts
from fashion.training.inference import predict_split
from fashion.training.run_folder import RunFolder

KEYS = ("ckpt_path", "split", "output_dir", "data", "trainer", "robustness_photos")
ROBUSTNESS_PHOTOS = 500


def report_on(
    trainer: Trainer,
    classifier: ProductClassifier,
    datamodule: FashionDataModule,
    *,
    config: dict[str, Any],
    history: pd.DataFrame,
    split: str,
    output_dir: Path,
    ckpt_path: Path | None,
    is_loaded: bool = False,
    calibration: Calibration | None = None,
    robustness_photos: int = 0,
) -> dict[str, Any]:
    """Predict a split, examine the model, and write `predictions.npz` and `report/`.

    For another split than `test` both names end in `-<split>`. With several processes each predicts
    its share and the first one writes.

    Args:
        trainer: As in `fashion.training.inference.predict_split`.
        classifier: The model.
        datamodule: Its catalogue, after `setup`.
        config: The run's configuration.
        history: The run's epochs.
        split: `train`, `val`, `test` or `all`.
        output_dir: The run's folder.
        ckpt_path: The model's checkpoint, which keeps its calibration, too; None: there is none.
        is_loaded: Whether its weights are in the model already.
        calibration: Of the model, if it is known; else it is fitted on the validation split, for a
            report on the test split.
        robustness_photos: See `fashion.reports.examine.examine`.

    Returns:
        The summary as `fashion.reports.report.write_report` returns it.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(output_dir)
    to_load = None if is_loaded else ckpt_path
    if calibration is None and split == "test":
        calibration, validated = calibrate(trainer, classifier, datamodule, to_load)
        to_load = None
        if trainer.is_global_zero:
            _at(calibration, validated).save(folder.predictions("val"))
            if ckpt_path is not None:
                checkpoints.store_calibration(ckpt_path, calibration.state())
    predictions = _at(calibration, predict_split(trainer, classifier, datamodule, split, to_load))
    examination = examine(
        trainer,
        classifier,
        datamodule,
        predictions,
        split,
        calibration=calibration,
        robustness_photos=robustness_photos,
    )
    if not trainer.is_global_zero:
        return {}
    predictions.save(folder.predictions(split))
    run = {**run_facts(config, history, datamodule, classifier), "split": split, **summary(trainer)}
    return write_report(predictions, run, history, folder.report(split), examination)


def _at(calibration: Calibration | None, predictions: Predictions) -> Predictions:
    """Give predictions the temperature that is known of their model."""
    return replace(predictions, temperature=calibration.temperature if calibration else None)


def evaluate(
    ckpt_path: str | Path,
    *,
    split: str = "test",
    output_dir: str | Path | None = None,
    data: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    robustness_photos: int = ROBUSTNESS_PHOTOS,
) -> dict[str, Any]:
    """Report on a checkpoint; see `report_on`.

    Args:
        ckpt_path: A checkpoint that a run wrote.
        split: `train`, `val`, `test`, or `all` for every row of the catalogue.
        output_dir: Where the report goes; None is the checkpoint's run folder.
        data: Data settings that replace the checkpoint's.
        trainer: Arguments of Lightning's Trainer.
        robustness_photos: How many photos are blurred, darkened and so on; 0: none.

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
        DataSettings.from_config({**config["data"], **(data or {})}),
        input_size=preprocessing["input_size"],
        interpolation=preprocessing["interpolation"],
        seed=config["seed"],
    )
    datamodule.trainer = runner = _build_trainer(trainer)
    datamodule.plan.check()
    classifier = load_classifier(checkpoint)
    datamodule.setup()
    if split == "all":
        datamodule.restrict_to(classifier.class_names)
    else:
        datamodule.load_state_dict(checkpoint["FashionDataModule"])
    run = RunFolder.of_checkpoint(ckpt_path)
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
        robustness_photos=robustness_photos,
    )


def check_robustness_photos(number: object) -> None:
    """Refuse what is no number of photos."""
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"robustness_photos={number!r} must be a whole number, 0 or more.")


def _known(group: str, given: dict[str, Any] | None, known: Iterable[str]) -> dict[str, Any]:
    """Return the settings of a group when its keys are known ones."""
    if not isinstance(given or {}, dict):
        raise ValueError(f"{group}={given!r} is no setting; pass {group}.KEY=VALUE.")
    unknown = sorted((given or {}).keys() - set(known))
    if unknown:
        there = ", ".join(sorted(known))
        raise ValueError(f"{group}.{unknown[0]} is unknown; there are: {there}.")
    return given or {}


def _build_trainer(settings: dict[str, Any] | None) -> Trainer:
    settings = _known("trainer", settings, inspect.signature(Trainer).parameters)
    own = {"logger": False, "enable_checkpointing": False, "use_distributed_sampler": False}
    on_xla = trainer_arguments(settings)
    try:
        return Trainer(**{**own, **settings, **on_xla})
    except (MisconfigurationException, TypeError, ValueError) as error:
        asked = ", ".join(f"trainer.{key}={value!r}" for key, value in settings.items())
        raise ValueError(f"Lightning can't evaluate with {asked}: {error}") from error


def main() -> None:
    """Evaluate from the command line."""
    logging.basicConfig(level="INFO", format="%(message)s")
    if len(sys.argv) < 2 or {"-h", "--help"} & set(sys.argv):
        sys.exit(__doc__)
    try:
        settings: Any = OmegaConf.to_container(OmegaConf.from_dotlist(sys.argv[1:]))
        unknown = sorted(settings.keys() - set(KEYS))
        if unknown or not settings.get("ckpt_path"):
            wrong = f"{unknown[0]} is unknown" if unknown else "ckpt_path is missing"
            sys.exit(
                f"{wrong}; pass ckpt_path=FILE and, if need be, split, output_dir, "
                "robustness_photos, data.KEY, trainer.KEY."
            )
        summary = evaluate(settings.pop("ckpt_path"), **settings)
    except (OSError, ValueError, OmegaConfBaseException) as error:
        sys.exit(str(error))
    if summary:
        split = summary["split"]
        figures = ", ".join(
            f"{key} {summary[split][key]:.4f}" for key in ("accuracy", "macro_f1", "macro_auprc")
        )
        sys.stdout.write(f"{split}: {figures}\n")


if __name__ == "__main__":
    main()
