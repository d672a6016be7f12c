"""What Lightning shows: no advertisements, no devices there aren't, epochs counted from one."""

import logging
import warnings
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar

# How they begin, by the logger that writes them.
HIDDEN = {
    "lightning.pytorch.utilities.rank_zero": (
        "💡 Tip:",
        "Tip:",
        "TPU available: False",
        "HPU available: False",
    ),
    "root": ("Defaulting to PJRT_DEVICE=CPU",),  # torch_xla's, where another device trains
}
# Advice to whoever writes loaders and metrics, which the project has chosen itself, and remarks on
# going on with a run, which it says in words of its own or sees to.
ADVICE = (
    r"Be aware that when using `ckpt_path`, callbacks used to create the checkpoint",
    r"Checkpoint directory .* exists and is not empty",
    r"The dirpath has changed from",  # of a best model that was moved or copied
    r"It is recommended to use `self\.log\(",
    r"The '\w+' does not have many workers",
    r"Consider setting `persistent_workers=True`",
    r"`ModelCheckpoint\(monitor=.*could not find the monitored key",  # before a first validation
)


def hide_advertisements() -> None:
    """Keep these lines from the log and the screen; may be called again."""
    for name, beginnings in HIDDEN.items():
        logger = logging.getLogger(name)
        if not any(isinstance(present, _Hide) for present in logger.filters):
            logger.addFilter(_Hide(beginnings))
    for message in ADVICE:
        warnings.filterwarnings("ignore", message)


def progress_bar() -> ProgressBar:
    """Return the bar that Lightning would choose, but for its epochs, which count from one."""
    try:
        return _RichBar()
    except ModuleNotFoundError:  # rich is no dependency
        return _PlainBar()


class _RichBar(RichProgressBar):
    def _get_train_description(self, current_epoch: int) -> str:
        last = self.trainer.max_epochs
        words = f"Epoch {current_epoch + 1}" + (f"/{last}" if last and last > 0 else "")
        return words.ljust(len(self.validation_description))  # or the bar would flicker


class _PlainBar(TQDMProgressBar):
    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(f"Epoch {trainer.current_epoch + 1}")


class _Hide(logging.Filter):
    def __init__(self, beginnings: tuple[str, ...]) -> None:
        super().__init__()
        self.beginnings = beginnings

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self.beginnings)
