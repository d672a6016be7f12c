"""Fine-tune one backbone, or sweep over several: `python train.py model=resnet50 data.root=...`."""

import signal
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import CompactHydraException, InstantiationException
from hydra.utils import instantiate
from lightning import Trainer, seed_everything
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf

from fashion.accelerators import trainer_arguments
from fashion.classifier import ProductClassifier
from fashion.data import FashionDataModule
from fashion.evaluate import report_on
from fashion.folders import register_resolvers
from fashion.predict import fill_features
from fashion.run import BEST, RunRecord, check_resumable, find_checkpoint

register_resolvers()
# What a wrong setting, a missing file or a full disk raises; each says in a sentence what to do.
USER_ERRORS = (ValueError, OSError, InstantiationException)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Fine-tune one backbone, report on its best checkpoint, return the test macro-AUPRC."""
    try:
        ckpt_path, record, trainer, datamodule, classifier = prepare(cfg)
    except USER_ERRORS as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        raise CompactHydraException(str(cause or error)) from error
    try:
        trainer.fit(classifier, datamodule, ckpt_path=ckpt_path, weights_only=True)
    except SIGTERMException:
        sys.exit(128 + signal.SIGTERM)
    best = Path(cfg.output_dir, BEST)
    summary = report_on(
        trainer,
        classifier,
        datamodule,
        config=record.config,
        history=record.history,
        split="test",
        output_dir=Path(cfg.output_dir),
        ckpt_path=best if best.exists() else None,  # fast_dev_run leaves none
    )
    return summary["test"]["macro_auprc"] if summary else None


def prepare(
    cfg: DictConfig,
) -> tuple[Path | None, RunRecord, Trainer, FashionDataModule, ProductClassifier]:
    """Build a run's parts, in the order that finds a mistake before the work it would spoil."""
    if OmegaConf.is_missing(cfg.model, "backbone"):
        raise ValueError("model.backbone is not set; pass model.backbone=<a name that timm lists>.")
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    output_dir = Path(cfg.output_dir)
    ckpt_path = find_checkpoint(cfg.ckpt_path, output_dir)
    checkpoint = check_resumable(ckpt_path, config) if ckpt_path else None
    record = RunRecord(config, output_dir)
    trainer = build_trainer(cfg, record)
    datamodule = instantiate(cfg.data)
    datamodule.trainer = trainer
    datamodule.check_batch_size()
    datamodule.load_catalogue()
    class_names = datamodule.splits.class_names
    classifier = build_classifier(cfg, class_names)
    datamodule.setup()
    if datamodule.splits.class_names != class_names:  # unreadable photos made a class too rare
        classifier = build_classifier(cfg, datamodule.splits.class_names)
    if checkpoint:
        datamodule.load_state_dict(checkpoint["FashionDataModule"])
    if trainer.is_global_zero:
        datamodule.splits.write_tables(output_dir)
    if datamodule.hparams["views"]:
        if checkpoint:  # features are made of its frozen layers, before the trainer loads it
            classifier.load_state_dict(checkpoint["state_dict"])
        fill_features(trainer, classifier, datamodule)
    return ckpt_path, record, trainer, datamodule, classifier


def build_trainer(cfg: DictConfig, record: RunRecord) -> Trainer:
    """Build Lightning's Trainer; a device that isn't there is an error that names the keys."""
    callbacks = [record, *instantiate(cfg.callbacks).values()]
    try:
        trainer: Trainer = instantiate(
            cfg.trainer, callbacks=callbacks, **trainer_arguments(cfg.trainer)
        )
    except InstantiationException as error:
        keys = ("accelerator", "devices", "strategy", "precision")
        asked = ", ".join(f"trainer.{key}={cfg.trainer[key]!r}" for key in keys)
        raise ValueError(
            f"Lightning can't train with {asked}: {error.__cause__ or error} "
            "Pass trainer.accelerator=auto to take what this machine has."
        ) from error
    return trainer


def build_classifier(cfg: DictConfig, class_names: list[str]) -> ProductClassifier:
    """Build the model from its seed, whatever was drawn before."""
    seed_everything(cfg.seed, workers=True, verbose=False)
    classifier: ProductClassifier = instantiate(cfg.model, class_names=class_names)
    return classifier


if __name__ == "__main__":
    main()
