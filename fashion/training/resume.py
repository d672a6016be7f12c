"""Which settings may differ: to go on with a run, to skip a finished one, to be a seed of another.

These are three questions. A run goes on where other weights to start from no longer matter; it is
finished only if it would be made the same way again; and runs are seeds of one another only if
nothing that could change a figure differs but the seed.
"""

import inspect
import json
import logging
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightning import Trainer

from fashion.data.settings import DROPPED_KEYS, REPEATED_KEYS
from fashion.defaults import default_settings
from fashion.models import checkpoints
from fashion.training.continuation import is_between_epochs
from fashion.training.run_folder import RunFolder
from fashion.wording import many

# Where a run is written and how it is shown: no figure depends on these.
PLACES = (
    "ckpt_path",
    "output_dir",
    "sweep_name",
    "robustness_photos",
    "data.num_workers",
    "data.cache_dir",
    "data.views_on_device",
    "trainer.logger",
    "trainer.default_root_dir",
    "trainer.log_every_n_steps",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.enable_autolog_hparams",
    "callbacks.best.dirpath",
    "callbacks.last",
)
# The devices decide the last digits.
DEVICES = (
    "model.compile",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
)
MAY_DIFFER_TO_RESUME = (
    *PLACES,
    *DEVICES,
    "data.count_twins",
    "data.root",  # the splits' hash is compared instead, here and in the next ones
    "data.delimiter",
    "data.encoding",
    "data.photo_folder",
    "data.zip_encoding",
    "data.exclude",
    "data.relabel",
    "data.rename",
    "data.more",
    "data.text_column",  # names are read once training is over
    "data.text_mask",
    "model.pretrained",  # the checkpoint has the weights
    "model.weights",
)
MAY_DIFFER_TO_SKIP = (*PLACES, *DEVICES)
MAY_DIFFER_BETWEEN_SEEDS = (*PLACES, "data.count_twins", "seed")
# Settings without which a checkpoint's weights or splits mean something else.
REFUSED_TO_RESUME = (
    "data.label_column",
    "data.label_level",
    "data.group_column",
    "data.group_level",
    "data.min_images",
    "data.malformed_rows",
    "data.split",
    "data.split_column",
    "data.split_seed",
    "data.folds",
    "data.fold",
    "model.backbone",
    "model.unfreeze",
    "model.optimizer._target_",  # its state is of no use to another
    "seed",  # names the run: runs that differ in it alone are compared
)
# What makes a step, and so how many an epoch has: of one epoch these are the same throughout.
REFUSED_IN_AN_EPOCH = (
    "data.batch_size",
    "data.sampler",
    "trainer.accumulate_grad_batches",
    "trainer.limit_train_batches",
    "trainer.overfit_batches",
)
# Every release has had these, so that a run without one was told to do without it.
FIRST_CALLBACKS = ("callbacks.best", "callbacks.last", "callbacks.early_stopping")
# What the configuration once said a second time.
REPEATED = (*(f"data.{key}" for key in REPEATED_KEYS), "model.fit", "model.seed")
log = logging.getLogger(__name__)


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
    last = RunFolder(Path(output_dir)).last
    if ckpt_path == "auto":
        return last if last.is_file() else None
    path = last if ckpt_path in (None, "last") else Path(str(ckpt_path)).expanduser()
    if ckpt_path is not None and not path.is_file():
        raise FileNotFoundError(
            f"ckpt_path={ckpt_path!r}: there is no checkpoint {path}. Pass hydra.run.dir=RUN "
            "ckpt_path=last or ckpt_path=RUN/checkpoints/last.ckpt, or leave ckpt_path out to "
            "start a new run."
        )
    resumes_here = ckpt_path is not None and path.parent.resolve() == last.parent.resolve()
    if last.exists() and not resumes_here:
        raise FileExistsError(
            f"hydra.run.dir={str(output_dir)!r} already holds a run. Pass ckpt_path=last to go on "
            "with it, or another hydra.run.dir to start a new one."
        )
    return path if ckpt_path is not None else None


def find_finished(config: Mapping[str, Any], output_dir: str | Path) -> dict[str, Any] | None:
    """Return the summary of a run that is finished in `output_dir`; None where there is none.

    Raises:
        FileExistsError: A run of other settings lies there, finished or not.
    """
    folder = RunFolder(Path(output_dir))
    summary: dict[str, Any] | None = None
    if folder.summary.is_file():
        summary = json.loads(folder.summary.read_text(encoding="utf-8"))
        before = summary["config"]
    elif folder.last.is_file():
        before = checkpoints.read(folder.last)["run"]["config"]
    else:
        return None
    changed = describe_changes(before, config, MAY_DIFFER_TO_SKIP)
    if changed:
        raise FileExistsError(
            f"{str(output_dir)!r} holds a run of other settings: {', '.join(changed.values())}. "
            "Pass another sweep_name (or hydra.run.dir) to start a new one."
        )
    return summary


def check_resumable(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a checkpoint's configuration with the one asked for, and name what changed.

    Returns:
        The checkpoint, as `fashion.models.checkpoints.read` returns it.

    Raises:
        ValueError: The checkpoint's weights or splits don't belong to this configuration, it was
            written in an epoch of other steps, or has more epochs behind it than are asked for.
    """
    checkpoint = checkpoints.read(path)
    before = checkpoint["run"]["config"]
    changed = describe_changes(before, config, MAY_DIFFER_TO_RESUME)
    for key, dropped in DROPPED_KEYS.items():
        if before["data"].get(key):
            raise ValueError(
                f"ckpt_path={str(path)!r} belongs to a run with data.{key}={before['data'][key]}, "
                f"and {dropped}. Leave ckpt_path out to start a new one."
            )
    done, asked = len(checkpoint["run"]["epochs"]), config["trainer"]["max_epochs"]
    if isinstance(asked, int) and 0 <= asked < done:
        raise ValueError(
            f"trainer.max_epochs={asked}: ckpt_path={str(path)!r} has {many(done, 'epoch')} behind "
            f"it. Pass trainer.max_epochs above {done}, or leave ckpt_path out to start a new run."
        )
    described = ", ".join(changed.values())
    if any(_is_among(key, REFUSED_TO_RESUME) for key in changed):
        raise ValueError(
            f"ckpt_path={str(path)!r} belongs to a run with other settings: "
            f"{described}. Pass those of that run, or leave ckpt_path out to start a "
            "new one."
        )
    if not is_between_epochs(checkpoint):
        _check_steps(path, done, {key: changed[key] for key in changed if _is_step(key)})
    if changed:
        log.warning("Resuming with changed settings: %s", described)
    return checkpoint


def _is_step(key: str) -> bool:
    return _is_among(key, REFUSED_IN_AN_EPOCH)


def _check_steps(path: Path, epoch: int, changed: Mapping[str, str]) -> None:
    if changed:
        raise ValueError(
            f"ckpt_path={str(path)!r} was written in the middle of epoch {epoch}, in which "
            f"{', '.join(changed.values())} can't change, for photos would be left out or taken "
            "twice. Pass that epoch's setting until it has ended, or leave ckpt_path out to start "
            "a new run."
        )


def describe_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], may_differ: tuple[str, ...]
) -> dict[str, str]:
    """Return the settings that differ between two configurations, each with a description.

    A key that one of them lacks counts with its default, so that a release may add keys; the names
    of this project's own functions are no settings.

    Args:
        before: The one, of this release or an earlier one.
        after: The other.
        may_differ: Keys that don't count, with all below them.
    """
    was, is_now = _flat(before), _flat(after)
    changed = {}
    for key in sorted(was.keys() | is_now.keys()):
        old, new = _value(was, key), _value(is_now, key)
        if old != new and not _is_among(key, may_differ):
            changed[key] = f"{key} ({old!r} -> {new!r})"
    return changed


def _is_among(key: str, keys: tuple[str, ...]) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in keys)


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's settings by their whole keys, without what is none."""
    return {
        key: value
        for key, value in _leaves(config)
        if not _is_among(key, REPEATED)
        and not key.endswith(("._convert_", "._partial_"))
        and not (key.endswith("._target_") and str(value).startswith("fashion."))
        and not (key.removeprefix("data.") in DROPPED_KEYS and not value)
    }


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Yield the keys and values of nested mappings, and of lists that hold mappings."""
    if isinstance(tree, Mapping):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list) and any(isinstance(item, Mapping) for item in tree):
        items = [(str(place), item) for place, item in enumerate(tree)]
    else:
        yield prefix.removesuffix("."), tree
        return
    for key, value in items:
        yield from _leaves(value, f"{prefix}{key}.")


def _value(settings: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401
    """Return a setting, or what a configuration without its key means by that."""
    if key in settings:
        return settings[key]
    parts = key.split(".")
    is_switched_off = any(".".join(parts[:end]) in settings for end in range(1, len(parts)))
    if is_switched_off or _is_among(key, FIRST_CALLBACKS):
        return None
    return _defaults().get(key)


@lru_cache
def _defaults() -> dict[str, Any]:
    parameters = inspect.signature(Trainer).parameters
    lightnings = {f"trainer.{name}": each.default for name, each in parameters.items()}
    return {**lightnings, **_flat(default_settings())}
