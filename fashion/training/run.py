"""A run's folder: its history, its checkpoints, and how it goes on after an interruption."""

import contextlib
import csv
import json
import logging
import os
import platform
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities.exceptions import SIGTERMException

from fashion.data.datamodule import FashionDataModule
from fashion.files import replacing, write_file
from fashion.models.backbone import count_parameters, count_trainable
from fashion.training.classifier import ProductClassifier

BEST, LAST = Path("checkpoints", "best.ckpt"), Path("checkpoints", "last.ckpt")
SUMMARY = Path("report", "summary.json")  # what a finished run has
RUN_PARTS = (".hydra", "checkpoints")  # what one that has only begun has
# Settings of where and how a run computes, not of what.
FREE_KEYS = (
    "ckpt_path",
    "output_dir",
    "sweep_name",
    "robustness_photos",
    "data.root",  # the splits' hash is compared instead, here and in the next two
    "data.exclude",
    "data.relabel",
    "data.num_workers",
    "data.cache_dir",
    "model.pretrained",
    "model.weights",
    "model.compile",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.strategy",
    "trainer.logger",
    "trainer.default_root_dir",
    "trainer.log_every_n_steps",
    "trainer.enable_",
    "callbacks.best.",
    "callbacks.last.",
)
# Those of them that a sweep may change between two calls; what its runs are made of, it may not.
SWEEP_KEYS = tuple(
    key
    for key in FREE_KEYS
    if key not in ("data.root", "data.exclude", "data.relabel", "model.pretrained", "model.weights")
)
# Settings without which a checkpoint's weights or splits mean something else.
FIXED_KEYS = (
    "data.label_column",
    "data.min_images",
    "data.malformed_rows",
    "data.split",
    "data.fold",
    "model.backbone",
    "model.unfreeze",
)
MAX_DEPTH = 4  # how far below a folder runs are looked for
log = logging.getLogger(__name__)


def find_runs(paths: Iterable[str | Path]) -> list[Path]:
    """Return the folders of the runs that some paths are, or that lie below them, each once.

    Files are passed over, so that a shell's `*` may stand for what lies in a sweep's folder.

    Raises:
        FileNotFoundError: A path doesn't exist, or there is no run.
    """
    given = [Path(path) for path in paths]
    for path in given:
        if not path.exists():
            raise FileNotFoundError(
                f"{str(path)!r} does not exist; pass folders of runs or sweeps."
            )
    found = [run for path in given for run in _runs_in(path.absolute(), MAX_DEPTH)]
    if not found:
        raise FileNotFoundError(
            f"There is no run in {', '.join(map(str, given))}; pass folders of runs or sweeps."
        )
    return list(dict.fromkeys(found))


def _runs_in(folder: Path, depth: int) -> list[Path]:
    if (folder / SUMMARY).is_file() or any((folder / name).is_dir() for name in RUN_PARTS):
        return [folder]
    if depth == 0 or not folder.is_dir():
        return []
    return [run for path in sorted(folder.iterdir()) for run in _runs_in(path, depth - 1)]


def find_checkpoint(ckpt_path: str | None, output_dir: str | Path) -> Path | None:
    """Return the checkpoint to resume from.

    Args:
        ckpt_path: `last` is the one in `output_dir`, `auto` the same where there is one; None
            starts anew.
        output_dir: The run's folder.

    Raises:
        FileNotFoundError: There is none.
        FileExistsError: A new run would overwrite the one in `output_dir`.
    """
    last = Path(output_dir) / LAST
    if ckpt_path == "auto":
        return last if last.is_file() else None
    path = last if ckpt_path in (None, "last") else Path(str(ckpt_path))
    if ckpt_path is not None and not path.is_file():
        raise FileNotFoundError(
            f"ckpt_path={ckpt_path!r}: there is no checkpoint {path}. Pass hydra.run.dir=RUN "
            "ckpt_path=last or ckpt_path=RUN/checkpoints/last.ckpt, or leave ckpt_path out to "
            "start a new run."
        )
    goes_on_here = ckpt_path is not None and path.parent.resolve() == last.parent.resolve()
    if last.exists() and not goes_on_here:
        raise FileExistsError(
            f"hydra.run.dir={str(output_dir)!r} already holds a run. Pass ckpt_path=last to go on "
            "with it, or another hydra.run.dir to start a new one."
        )
    return path if ckpt_path is not None else None


def find_finished(config: dict[str, Any], output_dir: str | Path) -> dict[str, Any] | None:
    """Return the summary of a run that is finished in `output_dir`; None where there is none.

    Raises:
        FileExistsError: A run of other settings lies there, finished or not.
    """
    summary_path, last = Path(output_dir, SUMMARY), Path(output_dir, LAST)
    summary: dict[str, Any] | None = None
    if summary_path.is_file():
        summary = json.loads(summary_path.read_text(encoding="utf-8"))
        before = summary["config"]
    elif last.is_file():
        before = load_checkpoint(last)["run"]["config"]
    else:
        return None
    changed = describe_changes(before, config, SWEEP_KEYS)
    if changed:
        raise FileExistsError(
            f"{str(output_dir)!r} holds a run of other settings: {', '.join(changed.values())}. "
            "Pass another sweep_name (or hydra.run.dir) to start a new one."
        )
    return summary


def describe_changes(
    before: dict[str, Any], after: dict[str, Any], free: tuple[str, ...]
) -> dict[str, str]:
    """Return the settings that differ between two configurations, each with a description.

    Args:
        before: The one.
        after: The other.
        free: How keys begin that don't count.
    """
    was, is_ = _flatten(before), _flatten(after)
    return {
        key: f"{key} ({was.get(key)!r} -> {is_.get(key)!r})"
        for key in sorted(was.keys() | is_.keys())
        if was.get(key) != is_.get(key) and not key.startswith(free)
    }


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a run's checkpoint onto the host, tensors and plain values only.

    Raises:
        FileNotFoundError: No file lies there.
        ValueError: It is no checkpoint that a run of this project wrote.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"ckpt_path={str(path)!r} does not exist; pass a run's checkpoints/best.ckpt."
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files draw almost any error from the unpickler
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"ckpt_path={str(path)!r} is not a complete checkpoint ({reason[:100]}). "
            "Pass a run's checkpoints/best.ckpt or last.ckpt."
        ) from error
    if not isinstance(checkpoint, dict) or not {"run", "preprocessing"} <= checkpoint.keys():
        raise ValueError(
            f"ckpt_path={str(path)!r} was not written by this project. Pass a run's "
            "checkpoints/best.ckpt."
        )
    return checkpoint


def store_calibration(path: str | Path, state: dict[str, Any]) -> None:
    """Keep what `fashion.metrics.calibration.Calibration.state` returned in a checkpoint."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    AtomicCheckpointIO().save_checkpoint({**checkpoint, "calibration": state}, path)


def check_resumable(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Compare a checkpoint's configuration with the one asked for, and name what changed.

    Returns:
        The checkpoint, as `load_checkpoint` returns it.

    Raises:
        ValueError: The checkpoint's weights or splits don't belong to this configuration.
    """
    checkpoint = load_checkpoint(path)
    changed = describe_changes(checkpoint["run"]["config"], config, FREE_KEYS)
    described = ", ".join(changed.values())
    if any(key.startswith(FIXED_KEYS) for key in changed):
        raise ValueError(
            f"ckpt_path={str(path)!r} belongs to a run with other settings: "
            f"{described}. Pass those of that run, or leave ckpt_path out to start a "
            "new one."
        )
    if changed:
        log.warning("Resuming with changed settings: %s", described)
    if any(key.startswith("model.optimizer.") for key in changed):
        log.warning("The optimizer's own settings stay those of the checkpoint.")
    return checkpoint


def run_facts(
    config: dict[str, Any],
    history: pd.DataFrame,
    datamodule: FashionDataModule,
    classifier: ProductClassifier,
) -> dict[str, Any]:
    """Return what a report says of a run beside its figures; see `write_report`."""
    data = datamodule.facts()
    seconds = history["seconds"].tolist() if len(history) else []
    best = int(history["epoch"].iloc[history["val/macro_auprc"].argmax()]) if len(history) else None
    return {
        "model": config["model_name"],
        "seed": config["seed"],
        "drawn_sample": data.pop("drawn_sample"),
        "data": data,
        "class_counts": datamodule.splits.class_counts(),
        "trainable_parameters": count_trainable(classifier.backbone),
        "total_parameters": count_parameters(classifier.backbone),
        "best_epoch": best,
        "best_val_macro_auprc": float(history["val/macro_auprc"].max()) if len(history) else None,
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
    found = {"python": platform.python_version()}
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
            found[name] = metadata.version(name)
    return found


class RunRecord(Callback):
    """Keeps a run's configuration and one row of figures an epoch, in its checkpoints and as CSV.

    Args:
        config: The run's configuration, plain containers and values.
        output_dir: Where `history.csv` is written after each epoch.
    """

    def __init__(self, config: dict[str, Any], output_dir: Path) -> None:
        self.config = config
        self.history_path = output_dir / "history.csv"
        self.last_path = output_dir / LAST
        self.epochs: list[dict[str, float]] = []
        self._earlier_seconds = 0.0
        self._started = 0.0

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch: `epoch`, `lr`, the `train/…` and `val/…` figures, `seconds`."""
        return pd.DataFrame(self.epochs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; an epoch resumed in its middle has no start of its own.

        A run that had stopped early stays so: Lightning would train it for an epoch more.
        """
        self._started = time.monotonic()
        for stopping in trainer.early_stopping_callbacks:
            if stopping.stopped_epoch or stopping.wait_count >= stopping.patience:
                trainer.should_stop = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rows whose checkpoint is on disk by now, and start the epoch's clock."""
        self._write_history(trainer)
        self._started = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last epoch's row."""
        self._write_history(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row; the checkpoint written next holds it."""
        assert isinstance(pl_module, ProductClassifier)
        figures = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        figures = {**pl_module.train_figures(), **figures}
        row = {"epoch": trainer.current_epoch, "lr": trainer.optimizers[0].param_groups[0]["lr"]}
        seconds = round(self._seconds(), 3)
        self._earlier_seconds = 0.0
        self.epochs.append({**row, **figures, "seconds": seconds})

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store configuration and history."""
        partial = self._seconds() if len(self.epochs) == trainer.current_epoch else 0.0
        checkpoint["run"] = {
            "config": self.config,
            "epochs": self.epochs,
            "partial_seconds": partial,
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with the history of the checkpoint's run."""
        if trainer.state.fn == "fit":
            self.epochs = checkpoint["run"]["epochs"]
            self._earlier_seconds = checkpoint["run"]["partial_seconds"]

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave a checkpoint when the run is asked to stop."""
        stopped = isinstance(exception, (SIGTERMException, KeyboardInterrupt))
        if (
            stopped
            and trainer.state.fn == "fit"
            and trainer.global_step
            and trainer.checkpoint_callbacks
        ):
            if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
                _validate_on_resume(trainer)
            trainer.save_checkpoint(self.last_path)
            log.info("Stopped; resume with ckpt_path=%s", self.last_path)

    def _write_history(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self.epochs:
            write_file(self.history_path, self.history.to_csv(index=False))

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it there: none is ever half written."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Write `checkpoint` to `path`, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, alone=True) as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


class ResumableCSVLogger(CSVLogger):
    """Lightning's CSVLogger, but a resumed run writes on instead of deleting what was there."""

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer of `metrics.csv`."""
        if self._experiment is None:
            self._experiment = _AppendingWriter(log_dir=self.log_dir)
        writer: ExperimentWriter = self._experiment  # type: ignore[assignment]
        return writer


class _AppendingWriter(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        if self._fs.isfile(self.metrics_file_path):
            with open(self.metrics_file_path, newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])


def _validate_on_resume(trainer: Trainer) -> None:
    """Mark an epoch whose batches are all trained on as one whose validation has just begun.

    Lightning would take it for a finished one and go on without validation figures.
    """
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    progress.reset()
    progress.increment_ready()
    progress.increment_started()


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, dict)
        flat |= _flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat
