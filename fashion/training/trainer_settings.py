"""Lightning's Trainer arguments and callbacks: which a run takes, and why it refuses the others.

`DECISIONS` has each argument of the Trainer: one that a later Lightning adds is refused until it
is decided upon.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from lightning import Callback
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint

from fashion.metrics.metrics import FIGURES

Settings = Mapping[str, Any]
MONITORED = ("train/loss", "train/accuracy", "val/loss", *(f"val/{name}" for name in FIGURES))


def check_trainer(settings: Settings) -> None:
    """Refuse what the Trainer would take and the run then fail with, or do otherwise.

    What Lightning refuses itself, in its constructor, is left to it.

    Args:
        settings: The keys under `trainer`.

    Raises:
        ValueError: A setting is refused; the sentence names the key and the way out.
    """
    for key, value in settings.items():
        if key.startswith("_"):
            continue
        if key not in DECISIONS:
            raise ValueError(f"trainer.{key} is no argument of Lightning's Trainer; leave it out.")
        if reason := DECISIONS[key](value, settings):
            raise ValueError(f"trainer.{key}={value!r} {reason}")


def check_batches(settings: Settings, num_train: int, num_val: int) -> None:
    """Refuse what does not fit the batches of an epoch, as many as this process has.

    Raises:
        ValueError: As `check_trainer`.
    """
    if settings.get("fast_dev_run"):
        return
    for key, number in (("limit_train_batches", num_train), ("limit_val_batches", num_val)):
        limit = settings.get(key)
        if isinstance(limit, float) and int(limit * number) < 1:
            raise ValueError(
                f"trainer.{key}={limit!r} leaves none of an epoch's {number} batches; pass "
                f"{math.ceil(1000 / number) / 1000} or more, or the number of batches."
            )
    num_train = limited(settings.get("limit_train_batches"), num_train)
    interval, epochs = settings.get("val_check_interval"), settings.get("max_epochs") or -1
    by_epoch = settings.get("check_val_every_n_epoch", 1) is not None
    most = num_train if by_epoch else num_train * epochs
    if isinstance(interval, int) and not isinstance(interval, bool) and interval > most > 0:
        raise ValueError(
            f"trainer.val_check_interval={interval!r}: there would be no validation in "
            f"{most} batches of training. Pass {most} or less, or 1.0 for once an epoch."
        )


def limited(limit: float | None, number: int) -> int:
    """Return how many of an epoch's batches a `limit_..._batches` leaves."""
    if limit is None:
        return number
    return min(limit, number) if isinstance(limit, int) else int(limit * number)


def check_callbacks(callbacks: Mapping[str, Any]) -> list[Callback]:
    """Return the callbacks of a run without those that are null.

    Args:
        callbacks: What was made of the keys under `callbacks`.

    Raises:
        ValueError: One is none, or can't do its work.
    """
    kept = {name: callback for name, callback in callbacks.items() if callback is not None}
    for name, callback in kept.items():
        if not isinstance(callback, Callback):
            raise ValueError(
                f"callbacks.{name} is no callback; give callbacks.{name}._target_ the name of a "
                f"Lightning callback, or pass callbacks.{name}=null to do without."
            )
        monitor = getattr(callback, "monitor", None)
        if isinstance(callback, (EarlyStopping, ModelCheckpoint)) and monitor not in (
            None,
            *MONITORED,
        ):
            raise ValueError(
                f"callbacks.{name}.monitor={monitor!r} is no figure of a run; pass one of "
                f"{', '.join(MONITORED)}."
            )
        patience = getattr(callback, "patience", 0)
        if isinstance(callback, EarlyStopping) and not (_is_whole(patience) and patience >= 0):
            raise ValueError(
                f"callbacks.{name}.patience={patience!r} must be a whole number, 0 or more."
            )
    if not isinstance(kept.get("best"), Checkpoint):
        raise ValueError(
            "callbacks.best can't be left out: its checkpoint is what the report is about and what "
            "labels photos. Leave callbacks.best as it is."
        )
    return list(kept.values())


def _judged(value: Any, settings: Settings) -> str:  # noqa: ANN401 - whatever was typed
    """Leave the argument to Lightning's constructor, and to `fashion.devices`."""
    return ""


def _flag(value: Any, settings: Settings) -> str:  # noqa: ANN401
    return "" if value is None or isinstance(value, bool) else "must be true or false."


def _only(*values: object, why: str) -> Callable[[Any, Settings], str]:
    def judge(value: Any, settings: Settings) -> str:  # noqa: ANN401
        is_there = any(type(value) is type(other) and value == other for other in values)
        return "" if is_there else why  # as types, for to Python 1 is True

    return judge


def _number(least: int, *others: int | None) -> Callable[[Any, Settings], str]:
    """Have a whole number from `least` on, or one of some others."""

    def judge(value: Any, settings: Settings) -> str:  # noqa: ANN401
        if (_is_whole(value) and value >= least) or (value in others and value is not True):
            return ""
        more = "".join(f", or {'null' if other is None else other}" for other in others)
        return f"must be a whole number, {least} or more{more}."

    return judge


def _share(value: Any, settings: Settings) -> str:  # noqa: ANN401
    if value is None or (_is_whole(value) and value >= 1):
        return ""
    if isinstance(value, float) and 0 < value <= 1:
        return ""
    return "must be a number of batches, 1 or more, or a share of them above 0 and up to 1.0."


def _epochs(value: Any, settings: Settings) -> str:  # noqa: ANN401
    if value == -1 and not isinstance(value, bool):
        has_end = settings.get("max_steps", -1) not in (None, -1)
        return "" if has_end else (
            "has no end to which the learning rate could fall; pass a number of epochs, or "
            "trainer.max_steps as well."
        )  # fmt: skip
    return _number(1, None)(value, settings)


def _steps(value: Any, settings: Settings) -> str:  # noqa: ANN401
    if reason := _number(1, -1)(value, settings):
        return reason.removesuffix(".") + " for as many as the epochs have."
    if value != -1 and settings.get("min_epochs"):
        return "and trainer.min_epochs contradict each other; pass one of them."
    return ""


def _least(key: str) -> Callable[[Any, Settings], str]:
    """Have a whole number that isn't above `key`'s."""

    def judge(value: Any, settings: Settings) -> str:  # noqa: ANN401
        if reason := _number(0, None)(value, settings):
            return reason
        most: Any = settings.get(key)
        if value and _is_whole(most) and 0 < most < value:
            return f"is above trainer.{key}={most}; pass {most} or less."
        return ""

    return judge


def _every_n_epochs(value: Any, settings: Settings) -> str:  # noqa: ANN401
    if reason := _number(1, None)(value, settings):
        return reason
    most: Any = settings.get("max_epochs")
    if value and _is_whole(most) and 0 < most < value:
        return f"would leave trainer.max_epochs={most} without validation; pass {most} or less."
    return ""


def _interval(value: Any, settings: Settings) -> str:  # noqa: ANN401
    if isinstance(value, (str, Mapping)):  # a time
        return ""
    return _share(value, settings)


def _clipping(value: Any, settings: Settings) -> str:  # noqa: ANN401
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is None or (is_number and 0 <= value < math.inf):
        return ""
    return "must be a number, 0 or more, or null."


def _precision(value: Any, settings: Settings) -> str:  # noqa: ANN401
    if value in ("16-true", "bf16-true") or str(value).startswith("transformer-engine"):
        return "can't hold the weights of these networks; pass bf16-mixed, 16-mixed or 32-true."
    return ""


def _strategy(value: Any, settings: Settings) -> str:  # noqa: ANN401
    name = str(value)
    if any(part in name for part in ("spawn", "fork", "notebook")):
        return "starts processes that can't hand their model back; pass ddp."
    if any(name.startswith(part) for part in ("fsdp", "deepspeed", "model_parallel")):
        return "parts the weights, which a checkpoint here holds whole; pass ddp."
    return ""


def _logger(value: Any, settings: Settings) -> str:  # noqa: ANN401
    if isinstance(value, (bool, type(None), list, Mapping)):
        return ""
    return "is no logger; pass false for none, true for Lightning's, or a list of _target_ nodes."


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


NO_CHECKPOINT = "would leave no best.ckpt, which the report is about; "
DECISIONS: dict[str, Callable[[Any, Settings], str]] = {
    "accelerator": _judged,
    "strategy": _strategy,
    "devices": _judged,
    "num_nodes": _judged,
    "precision": _precision,
    "logger": _logger,
    "callbacks": _only(None, why="has a place of its own; pass +callbacks.NAME._target_=CLASS."),
    "fast_dev_run": lambda value, settings: (
        "" if isinstance(value, bool) else _number(0)(value, settings)
    ),
    "max_epochs": _epochs,
    "min_epochs": _least("max_epochs"),
    "max_steps": _steps,
    "min_steps": _least("max_steps"),
    "max_time": _judged,
    "limit_train_batches": _share,
    "limit_val_batches": _share,
    "limit_test_batches": _only(
        None, 1.0, why="has no effect: a report predicts the whole test split; leave it out."
    ),
    "limit_predict_batches": _only(
        None, 1.0, why="would leave the report without its photos; pass trainer=debug for a trial."
    ),
    "overfit_batches": _only(
        0, 0.0, None, why="has Lightning put its own order of photos in place of a run's; pass "
        "+trainer.limit_train_batches=NUMBER.",
    ),
    "val_check_interval": _interval,
    "check_val_every_n_epoch": _every_n_epochs,
    "num_sanity_val_steps": _number(-1, None),
    "log_every_n_steps": _number(0, None),
    "enable_checkpointing": _only(
        True, None, why=NO_CHECKPOINT + "pass trainer=debug for a trial that writes none."
    ),
    "enable_progress_bar": _flag,
    "enable_model_summary": _flag,
    "accumulate_grad_batches": _number(1),
    "gradient_clip_val": _clipping,
    "gradient_clip_algorithm": _judged,
    "deterministic": _only(True, False, None, "warn", why="must be true, false or warn."),
    "benchmark": _flag,
    "inference_mode": _flag,
    "use_distributed_sampler": _only(
        False, None, why="would share out batches that are shared out already; leave it out."
    ),
    "profiler": _judged,
    "detect_anomaly": _flag,
    "barebones": _only(
        False, None, why=NO_CHECKPOINT + "pass trainer.logger=false and "
        "trainer.enable_progress_bar=false for a run with less around it.",
    ),
    "plugins": _judged,
    "sync_batchnorm": _only(
        False, None, why="has no effect on a network that is cut where gradients stop; leave it "
        "out.",
    ),
    "reload_dataloaders_every_n_epochs": _number(0),
    "default_root_dir": _judged,
    "enable_autolog_hparams": _flag,
    "model_registry": _only(None, why="needs Lightning's own hub of models; leave it out."),
}  # fmt: skip
