"""RunRecord: a run's configuration and history, in its checkpoints and as CSV."""

import logging
import time
from typing import Any

import pandas as pd
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from fashion.files import write_file
from fashion.models.backbone import pretrained_cfg
from fashion.training.classifier import ProductClassifier
from fashion.training.continuation import reason_to_stop, take_over
from fashion.training.run_folder import RunFolder

log = logging.getLogger(__name__)


class RunRecord(Callback):
    """Keeps a run's configuration and one row of figures an epoch, in its checkpoints and as CSV.

    Args:
        config: The run's configuration, plain containers and values.
        folder: Where the history is written after each epoch.
    """

    def __init__(self, config: dict[str, Any], folder: RunFolder) -> None:
        self.config = config
        self.folder = folder
        self.epochs: list[dict[str, float]] = []
        self._earlier_seconds = 0.0
        self._started = 0.0

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch: `epoch`, `lr`, the `train/…` and `val/…` figures, `seconds`."""
        return pd.DataFrame(self.epochs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; an epoch resumed in its middle has no start of its own.

        A run that had stopped early stays so, unless its settings say otherwise now: Lightning
        would train it for an epoch more.
        """
        self._started = time.monotonic()
        for stopping in trainer.early_stopping_callbacks:
            if reason := reason_to_stop(stopping):
                trainer.should_stop = True
                if trainer.is_global_zero and trainer.fit_loop._can_stop_early:
                    log.info("Nothing is left to train: %s", reason)

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
        """Store configuration, history, and what turns a photo into the network's input."""
        partial = self._seconds() if len(self.epochs) == trainer.current_epoch else 0.0
        checkpoint["run"] = {
            "config": self.config,
            "epochs": self.epochs,
            "partial_seconds": partial,
        }
        model = self.config["model"]
        checkpoint["preprocessing"] = {
            "input_size": model["input_size"],
            "interpolation": pretrained_cfg(model["backbone"]).interpolation,
            "fit": self.config["data"]["fit"],
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with the history of the checkpoint's run, and with what follows from it."""
        if trainer.state.fn == "fit":
            take_over(trainer, checkpoint)
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
            trainer.save_checkpoint(self.folder.last)
            log.info("Stopped; resume with ckpt_path=%s", self.folder.last)

    def _write_history(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self.epochs:
            write_file(self.folder.history, self.history.to_csv(index=False))

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started


def _validate_on_resume(trainer: Trainer) -> None:
    """Mark an epoch whose batches are all trained on as one whose validation has just begun.

    Lightning would take it for a finished one and go on without validation figures.
    """
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    progress.reset()
    progress.increment_ready()
    progress.increment_started()
