"""RunRecord: a run's configuration and history, in its checkpoints and as CSV."""

import logging
import time
from typing import Any

import pandas as pd
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from fashion.files import write_file
from fashion.models.backbone import pretrained_cfg
from fashion.training.averaging import trained_tensors
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
        self._lr: float | None = None  # at the start of the epoch
        self._is_validated = False  # whether this epoch has figures of its own

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch: `epoch`, `lr`, the `train/…` and `val/…` figures, `seconds`.

        `lr` is the rate of the epoch's first step; an epoch without validation has no `val/…`.
        """
        table = pd.DataFrame(self.epochs)
        return table[[*table.columns.drop("seconds"), "seconds"]] if len(table) else table

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
        self._lr = _rate(trainer)
        self._is_validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the epoch has figures of its own."""
        self._is_validated = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last epoch's row."""
        self._write_history(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row; the checkpoint written next holds it."""
        assert isinstance(pl_module, ProductClassifier)
        figures = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/") and self._is_validated
        }
        figures = {**pl_module.train_figures(), **figures}
        lr = _rate(trainer) if self._lr is None else self._lr
        row = {"epoch": trainer.current_epoch, "lr": lr}
        seconds = round(self._seconds(), 3)
        self._earlier_seconds = 0.0
        self.epochs.append({**row, **figures, "seconds": seconds})

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store configuration, history, and what turns a photo into the network's input.

        Raises:
            FloatingPointError: The weights are no finite numbers; nothing is written.
        """
        _check_weights(trainer, pl_module, checkpoint["state_dict"])
        partial = self._seconds() if len(self.epochs) == trainer.current_epoch else 0.0
        checkpoint["run"] = {
            "config": self.config,
            "epochs": self.epochs,
            "partial_seconds": partial,
            "lr": self._lr,
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
            self._lr = checkpoint["run"].get("lr")

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
            try:
                trainer.save_checkpoint(self.folder.last, weights_only=False)
            except FloatingPointError as error:
                log.error("%s", self.describe_divergence(error))
            else:
                log.info("Stopped; resume with ckpt_path=%s", self.folder.last)

    def describe_divergence(self, error: FloatingPointError) -> str:
        """Say what became of a run whose numbers are none any more, and what to do."""
        kept = next((path for path in (self.folder.last, self.folder.best) if path.is_file()), None)
        now = self.config["model"]["optimizer"].get("lr")
        smaller = "a smaller model.optimizer.lr" + (f" than {now}" if now else "")
        end = f"{error} had values that are no finite numbers: training has diverged."
        if kept is None:
            return f"{end} No checkpoint had been written; start anew with {smaller}."
        return f"{end} The last good checkpoint is {kept}: pass ckpt_path={kept} and {smaller}."

    def _write_history(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self.epochs:
            write_file(self.folder.history, self.history.to_csv(index=False))

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started


def _rate(trainer: Trainer) -> float:
    return float(trainer.optimizers[0].param_groups[0]["lr"])


def _check_weights(trainer: Trainer, module: LightningModule, state: dict[str, Any]) -> None:
    """Refuse to keep weights that are no finite numbers; what is looked at comes to the host.

    It is on its way there to be written, and on XLA a look at the device would compile a graph.
    """
    for name in filter(state.__contains__, trained_tensors(module)):
        state[name] = state[name].cpu()
        if not state[name].isfinite().all():
            raise FloatingPointError(
                f"In epoch {trainer.current_epoch}, after step {trainer.global_step}, {name}"
            )


def _validate_on_resume(trainer: Trainer) -> None:
    """Mark an epoch whose batches are all trained on as one whose validation has just begun.

    Lightning would take it for a finished one and go on without validation figures.
    """
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    progress.reset()
    progress.increment_ready()
    progress.increment_started()
