"""`fashion train`: fine-tune one backbone, or sweep over several."""

import logging
import os
import re
import signal
import sys
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from omegaconf import DictConfig, OmegaConf

from fashion.attributes import Heads
from fashion.commands import together
from fashion.commands.apart import run_apart, starts_processes
from fashion.commands.configuration import check_words
from fashion.commands.folders import register_resolvers
from fashion.commands.lifeline import tie, watch
from fashion.commands.overrides import read_overrides
from fashion.commands.screen import hide_advertisements, progress_bar
from fashion.data.datamodule import FashionDataModule
from fashion.data.settings import DataSettings
from fashion.defaults import CONF
from fashion.devices.accelerators import trainer_arguments
from fashion.devices.launch import Launch
from fashion.models.backbone import pretrained_cfg
from fashion.reports.run_report import check_robustness_photos, report_on
from fashion.reports.summary import headline
from fashion.training.classifier import ProductClassifier
from fashion.training.continuation import latest
from fashion.training.inference import fill_features
from fashion.training.plugins import drop_redone_steps
from fashion.training.processes import check_alike, load_for_all
from fashion.training.record import RunRecord
from fashion.training.resume import check_resumable, find_checkpoint, find_finished
from fashion.training.run_folder import RunFolder
from fashion.training.trainer_settings import (
    check_batches,
    check_callbacks,
    check_trainer,
    limited,
)

register_resolvers()
log = logging.getLogger(__name__)
# What a wrong setting, a missing file or a full disk raises; each says in a sentence what to do.
USER_ERRORS = (ValueError, OSError, InstantiationException)
DEVICE_KEYS = ("accelerator", "devices", "strategy", "precision")
_typed: list[str] = []  # the command line, as Hydra's words


def run(words: list[str]) -> None:
    """Train as the words of a command line say."""
    tie()
    overrides = read_overrides(words)
    check_words(overrides)
    command = sys.argv[:2] if sys.argv[1:2] == ["train"] else sys.argv[:1]
    arguments = [*overrides.arguments(), *together.own_words()]
    _typed[:] = [*command, *arguments]
    sys.argv = [sys.argv[0], *arguments]
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()


def job(cfg: DictConfig) -> float | None:
    """Train what Hydra composed; alone, a user's error ends the process in a sentence."""
    hide_advertisements()
    watch()
    together.watch()
    if _typed:  # Lightning starts the other processes of a run with these words
        sys.argv = list(_typed)
    try:
        return main(cfg)
    except Exception as error:
        reason = together.tell(error)
        is_sentence = isinstance(error, CompactHydraException) or reason != str(error)
        is_alone = HydraConfig.get().mode is RunMode.RUN
        if is_sentence and is_alone and os.environ.get("HYDRA_FULL_ERROR") != "1":
            sys.exit(reason)
        raise


def main(cfg: DictConfig) -> float | None:
    """Fine-tune one backbone, report on its best checkpoint, return its validation macro-AUPRC.

    A search over settings is told that figure and not the test split's, which would then be no
    test any more.
    """
    with ExitStack() as stack:
        try:
            finished = resumes(cfg) and find_finished(settings_of(cfg), cfg.output_dir)
            if finished:
                log.info("%s is finished: nothing is left to do.", cfg.output_dir)
                return finished.get("best_val_macro_auprc")
            if in_sweep() and starts_processes(cfg.trainer):
                check_trainer(settings_of(cfg)["trainer"])
                run_apart(cfg)
                return (find_finished(settings_of(cfg), cfg.output_dir) or {}).get(
                    "best_val_macro_auprc"
                )
            stack.enter_context(RunFolder(Path(cfg.output_dir)).alone())
            parts = prepare(cfg)
        except USER_ERRORS as error:
            cause = error.__cause__ if isinstance(error, InstantiationException) else error
            raise CompactHydraException(str(cause or error)) from error
        return _train(cfg, *parts)


def _train(
    cfg: DictConfig,
    ckpt_path: Path | None,
    record: RunRecord,
    trainer: Trainer,
    datamodule: FashionDataModule,
    classifier: ProductClassifier,
) -> float | None:
    """Train with the parts of a run that `prepare` returned."""
    try:
        trainer.fit(classifier, datamodule, ckpt_path=ckpt_path, weights_only=True)
    except SIGTERMException:
        sys.exit(128 + signal.SIGTERM)
    except MisconfigurationException as error:
        raise CompactHydraException(f"Lightning can't train so: {error}") from error
    except FloatingPointError as error:  # in all processes, of which the first one speaks
        if not trainer.is_global_zero:
            sys.exit(1)
        raise CompactHydraException(record.describe_divergence(error)) from error
    best = record.folder.best
    is_loaded = bool(Launch.of_this_process()) and load_for_all(trainer, classifier, best)
    try:
        summary = report_on(
            trainer,
            classifier,
            datamodule,
            config=record.config,
            history=record.history,
            split="test",
            output_dir=record.folder.path,
            ckpt_path=best if is_loaded or best.exists() else None,  # fast_dev_run leaves none
            is_loaded=is_loaded,
            robustness_photos=cfg.robustness_photos,
        )
    except OSError as error:  # the disk is full
        raise CompactHydraException(str(error)) from error
    if not summary:  # another of several processes has it
        return None
    log.info("%s\nWritten: %s", headline(summary), record.folder.report("test") / "index.html")
    best_figure: float | None = summary["best_val_macro_auprc"]
    return best_figure


def resumes(cfg: DictConfig) -> bool:
    """Return whether the run is to go on with what its folder holds, as those of a sweep do."""
    return bool(cfg.ckpt_path == "auto" or (cfg.ckpt_path is None and in_sweep()))


def in_sweep() -> bool:
    """Return whether this is a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """Return the configuration as plain containers and values, its catalogue's paths absolute.

    So a checkpoint is evaluated from any folder.
    """
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    for key in ("root", "exclude", "relabel", "rename", "more"):
        if config["data"][key] is not None:
            config["data"][key] = os.path.abspath(os.path.expanduser(config["data"][key]))
    return config  # type: ignore[no-any-return]


def prepare(
    cfg: DictConfig,
) -> tuple[Path | None, RunRecord, Trainer, FashionDataModule, ProductClassifier]:
    """Build a run's parts, in the order that finds a mistake before the work it would spoil."""
    if OmegaConf.is_missing(cfg.model, "backbone"):
        raise ValueError("model.backbone is not set; pass model.backbone=<a name that timm lists>.")
    check_robustness_photos(cfg.robustness_photos)
    if not cfg.model.get("optimizer"):
        raise ValueError("model.optimizer is null; leave it out for AdamW, or name another's keys.")
    config = settings_of(cfg)
    check_trainer(config["trainer"])
    together.check_folder(cfg.ckpt_path)
    folder = RunFolder(Path(cfg.output_dir))
    ckpt_path = find_checkpoint("auto" if resumes(cfg) else cfg.ckpt_path, folder.path)
    ckpt_path = ckpt_path and latest(ckpt_path, folder)
    checkpoint = check_resumable(ckpt_path, config) if ckpt_path else None
    record = RunRecord(config, folder)
    trainer = build_trainer(cfg, record)
    datamodule = build_datamodule(cfg, instantiate(cfg.data))
    datamodule.trainer = trainer
    datamodule.plan.check()
    datamodule.load_catalogue()
    heads = datamodule.splits.heads
    num_train, num_val = datamodule.num_batches("train"), datamodule.num_batches("val")
    check_batches(config["trainer"], num_train, num_val)
    classifier = build_classifier(cfg, heads)
    datamodule.setup()
    _log_within_epochs(trainer, config["trainer"], datamodule.num_batches("train"))
    if datamodule.splits.heads != heads:  # unreadable photos made a class too rare
        classifier = build_classifier(cfg, datamodule.splits.heads)
    if checkpoint:
        drop_redone_steps(trainer, checkpoint)
        datamodule.load_state_dict(checkpoint["FashionDataModule"])
    if Launch.of_this_process():
        together.wait_for_all()
        check_alike(trainer, datamodule, checkpoint)
    if trainer.is_global_zero:
        datamodule.splits.write_tables(folder.path)
    if datamodule.settings.views:
        if checkpoint:  # features are made of its frozen layers, before the trainer loads it
            classifier.load_state_dict(checkpoint["state_dict"])
        fill_features(trainer, classifier, datamodule)
    return ckpt_path, record, trainer, datamodule, classifier


def build_trainer(cfg: DictConfig, record: RunRecord) -> Trainer:
    """Build Lightning's Trainer; a device that isn't there is an error that names the keys."""
    callbacks = [record, *build_callbacks(cfg)]
    is_shown = OmegaConf.select(cfg, "trainer.enable_progress_bar") is not False
    if is_shown and not any(isinstance(callback, ProgressBar) for callback in callbacks):
        callbacks.append(progress_bar())
    try:
        trainer: Trainer = instantiate(
            cfg.trainer, callbacks=callbacks, **trainer_arguments(cfg.trainer)
        )
    except InstantiationException as error:
        raise ValueError(_refusal(cfg.trainer, str(error.__cause__ or error))) from error
    if launch := Launch.of_this_process():
        launch.check(trainer)
    return trainer


def build_callbacks(cfg: DictConfig) -> list[Callback]:
    """Build a run's own callbacks; early stopping counts validations where an epoch isn't one."""
    nodes = deepcopy(cfg.callbacks or {})
    each_epoch = cfg.trainer.get("check_val_every_n_epoch", 1) == 1
    if not (each_epoch and cfg.trainer.get("val_check_interval") in (None, 1.0)):
        for node in nodes.values():
            if isinstance(node, DictConfig) and node.get("check_on_train_epoch_end"):
                node.check_on_train_epoch_end = False
    return check_callbacks(instantiate(nodes))


def _refusal(settings: DictConfig, reason: str) -> str:
    """Say which arguments Lightning refuses: those that it names, or what chooses the devices."""
    words = set(re.findall(r"\w+", reason))
    named = [str(key) for key in settings if key in words - set(DEVICE_KEYS)]
    asked = ", ".join(f"trainer.{key}={settings[key]!r}" for key in named or DEVICE_KEYS)
    if named:
        return f"Lightning can't train with {asked}: {reason}"
    meant = {word.lower() for word in words}
    wrong = next(
        (key for key in ("strategy", "precision", "devices") if key in meant), DEVICE_KEYS[0]
    )
    way_out = "32-true" if wrong == "precision" else "auto to take what this machine has"
    return (
        f"Lightning can't train with {asked}: {reason.rstrip('.')}. Pass trainer.{wrong}={way_out}."
    )


def _log_within_epochs(trainer: Any, settings: dict[str, Any], num_batches: int) -> None:  # noqa: ANN401
    """Have a step of each epoch logged, however few it has."""
    num_batches = limited(settings.get("limit_train_batches"), num_batches)
    steps = max(1, num_batches // trainer.accumulate_grad_batches)
    trainer.log_every_n_steps = min(trainer.log_every_n_steps, steps)


def build_datamodule(cfg: DictConfig, settings: DataSettings) -> FashionDataModule:
    """Build the catalogue's loaders for a model's input."""
    return FashionDataModule(
        settings,
        input_size=cfg.model.input_size,
        interpolation=pretrained_cfg(cfg.model.backbone).interpolation,
        seed=cfg.seed,
    )


def build_classifier(cfg: DictConfig, heads: Heads) -> ProductClassifier:
    """Build the model from its seed, whatever was drawn before."""
    seed_everything(cfg.seed, workers=True, verbose=False)
    others = {"attributes": heads.plain()} if heads.attributes else {}
    classifier: ProductClassifier = instantiate(
        cfg.model, class_names=list(heads.class_names), seed=cfg.seed, **others
    )
    return classifier
