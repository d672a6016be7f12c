"""What a run that goes on takes over: its best models so far, and how long it has waited.

Lightning keeps both in the checkpoint, but drops the one where a run has moved, and lets the other
outvote the configuration. Here both follow from what can't be out of date: the history in the
checkpoint, the models' own files, and the settings of now.
"""

import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from fashion.files import replacing
from fashion.models import checkpoints
from fashion.training.run_folder import RunFolder
from fashion.wording import many

log = logging.getLogger(__name__)
Rows = list[dict[str, float]]  # of the history


def latest(path: Path, folder: RunFolder) -> Path:
    """Return the checkpoint to go on from: the best one where it is an epoch ahead of the last.

    A run that was killed after writing the one and before writing the other leaves them so.

    Args:
        path: The checkpoint asked for.
        folder: Where the run is to go on.

    Raises:
        ValueError: Going on from `path` would write over a best model that is not of its epochs.
    """
    source = RunFolder.of_checkpoint(path)
    if path.absolute().parent != source.checkpoints or not source.best.is_file():
        return path
    rows, best_rows = _epochs(checkpoints.read(path)), _epochs_of(source.best)
    if isinstance(best_rows, str) or _begins_with(rows, best_rows):
        return path
    is_ahead = _begins_with(best_rows, rows) and len(best_rows) == len(rows) + 1
    if is_ahead and path.name == source.last.name:
        log.info("%s is an epoch behind %s: going on from that.", path, source.best.name)
        return source.best
    if folder.best.exists() and folder.best.samefile(source.best):
        raise ValueError(
            f"ckpt_path={str(path)!r} has {many(len(rows), 'epoch')} behind it, of which "
            f"{folder.best} is none, and going on here would write over that. Pass another "
            "hydra.run.dir to go on there, or move the file away."
        )
    return path


def take_over(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Put into a checkpoint what its callbacks would know in a run that was never stopped.

    Best models that lie beside the checkpoint are copied where this run keeps its own.

    Args:
        trainer: About to go on from the checkpoint.
        checkpoint: Its callbacks' states are replaced; Lightning loads them next.
    """
    states, rows = checkpoint["callbacks"], _epochs(checkpoint)
    for stopping in trainer.early_stopping_callbacks:
        before = states.get(stopping.state_key)
        if _replay(stopping, rows) or before is None:
            states[stopping.state_key] = stopping.state_dict()
        else:
            states[stopping.state_key] = _with_patience(before, stopping.patience)
    for keeper in trainer.checkpoint_callbacks:
        if isinstance(keeper, ModelCheckpoint) and keeper.dirpath is not None:
            state = _state_of(keeper, trainer, checkpoint) if trainer.is_global_zero else None
            states[keeper.state_key] = trainer.strategy.broadcast(state)


def is_between_epochs(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint was written after an epoch's end, and not while one ran."""
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
    return bool(epochs["started"] == epochs["processed"])


def reason_to_stop(stopping: EarlyStopping) -> str | None:
    """Return why there is nothing left to train, or None."""
    if stopping.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
        return (
            f"{stopping.monitor} has not become better for {stopping.wait_count} epochs, and "
            f"callbacks.early_stopping.patience={stopping.patience}. Pass "
            f"callbacks.early_stopping.patience={stopping.wait_count + 1} or more to train on."
        )
    if stopping.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
        return f"{stopping.stopping_reason_message} Change callbacks.early_stopping to train on."
    return None


def _replay(stopping: EarlyStopping, rows: Rows) -> bool:
    """Show a callback the epochs so far; return whether they have what it watches."""
    stops, value = False, None
    for row in rows:
        value = row.get(stopping.monitor, value)  # an epoch without validation has waited, too
        if value is not None:
            stops, stopping.stopping_reason_message = stopping._evaluate_stopping_criteria(
                torch.tensor(value)
            )
    if not stops:
        stopping.stopping_reason = EarlyStoppingReason.NOT_STOPPED
    return value is not None


def _with_patience(state: Mapping[str, Any], patience: int) -> dict[str, Any]:
    """Return the state of a callback whose figure the history lacks, with the patience of now."""
    waits_on = state["wait_count"] < patience
    reason = EarlyStoppingReason.NOT_STOPPED.value if waits_on else state.get("stopping_reason", 0)
    return {**state, "patience": patience, "stopping_reason": reason}


def _state_of(
    keeper: ModelCheckpoint, trainer: Trainer, checkpoint: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the state of a callback that keeps models, for the folder that it keeps them in now.

    A model's score is that of the epoch in its own file.
    """
    before = checkpoint["callbacks"].get(keeper.state_key, {})
    path, folder = Path(str(trainer.ckpt_path)).absolute(), Path(str(keeper.dirpath))
    state = {**keeper.state_dict(), "current_score": before.get("current_score")}
    for key in ("best_model_path", "last_model_path"):
        name = PureWindowsPath(before.get(key) or "").name
        state[key] = str(folder / name) if name else ""
    if keeper.monitor is None or keeper.save_top_k == 0:
        return state
    scores = _scores(keeper, before, checkpoint, path)
    if scores:
        _say_if_worse(keeper, scores, _epochs(checkpoint))
    return {**state, **_ranking(keeper, scores)}


def _scores(
    keeper: ModelCheckpoint, before: Mapping[str, Any], checkpoint: Mapping[str, Any], path: Path
) -> dict[str, torch.Tensor]:
    """Return the models that are kept, by their new paths, with their scores."""
    folder, rows = Path(str(keeper.dirpath)), _epochs(checkpoint)
    earlier = {PureWindowsPath(old).name: s for old, s in before.get("best_k_models", {}).items()}
    source = _source(str(before.get("dirpath", folder)), folder, path)
    is_fixed = bool(keeper.filename) and "{" not in str(keeper.filename)
    names = list(earlier) or [f"{keeper.filename}{keeper.FILE_EXTENSION}"] * is_fixed
    scores: dict[str, torch.Tensor] = {}
    for name in names:
        score, trouble = _score(keeper, source / name, rows, earlier.get(name))
        model = source / name
        if score is None and name in earlier:
            model, score = path, _own_score(keeper, checkpoint)
            log.warning("%s %s; %s", source / name, trouble, _what_follows(score, rows))
        if score is not None:
            _copy(model, folder / name)
            scores[str(folder / name)] = score
    return scores


def _own_score(keeper: ModelCheckpoint, checkpoint: Mapping[str, Any]) -> torch.Tensor | None:
    """Return the score of the checkpoint's own model, if that may take a lost one's place."""
    rows = _epochs(checkpoint)
    own = rows[-1].get(str(keeper.monitor)) if rows and is_between_epochs(checkpoint) else None
    return torch.tensor(own) if own is not None and keeper.save_top_k == 1 else None


def _what_follows(score: torch.Tensor | None, rows: Rows) -> str:
    if score is None:
        return f"the best of the epochs from {len(rows)} on takes its place."
    return f"the model of epoch {rows[-1]['epoch']} takes its place until one is better."


def _score(
    keeper: ModelCheckpoint, path: Path, rows: Rows, earlier: torch.Tensor | None
) -> tuple[torch.Tensor | None, str]:
    """Return the score of a model's file, or None and what is wrong with it."""
    if keeper.save_weights_only:
        return (earlier, "") if path.is_file() else (None, "is missing")
    its_rows = _epochs_of(path)
    if isinstance(its_rows, str):
        return None, its_rows
    if not its_rows or not _begins_with(rows, its_rows):
        return None, "is not of the epochs before this checkpoint"
    score = its_rows[-1].get(str(keeper.monitor))
    return (earlier, "has no figure") if score is None else (torch.tensor(score), "")


def _source(before: str, now: Path, path: Path) -> Path:
    """Return where the models lie that a checkpoint's run kept in the folder `before`."""
    if before == str(now):
        return now
    return RunFolder.of_checkpoint(path).path / PureWindowsPath(before).name


def _say_if_worse(keeper: ModelCheckpoint, scores: Mapping[str, torch.Tensor], rows: Rows) -> None:
    """Say so where the history has a better epoch than any file."""
    sign = 1 if keeper.mode == "max" else -1
    known = {row["epoch"]: row[str(keeper.monitor)] for row in rows if keeper.monitor in row}
    known = {epoch: value for epoch, value in known.items() if math.isfinite(value)}
    best = max(known, key=lambda epoch: sign * known[epoch], default=None)
    kept = max(scores, key=lambda path: sign * float(scores[path]))
    if best is not None and sign * torch.tensor(known[best]) > sign * scores[kept]:
        log.warning(
            "%s has %s=%.4f. Epoch %d had %.4f, but its model is no longer there.",
            *(kept, keeper.monitor, float(scores[kept]), best, known[best]),
        )


def _ranking(keeper: ModelCheckpoint, scores: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return what a callback of Lightning knows of the models that it keeps."""
    if not scores:
        return {"best_k_models": {}, "best_model_path": ""}
    ranked = sorted(scores, key=lambda path: float(scores[path]), reverse=keeper.mode == "max")
    ranking = {
        "best_k_models": scores,
        "best_model_path": ranked[0],
        "best_model_score": scores[ranked[0]],
    }
    if len(ranked) == keeper.save_top_k:
        ranking |= {"kth_best_model_path": ranked[-1], "kth_value": scores[ranked[-1]]}
    return ranking


def _copy(source: Path, target: Path) -> None:
    if source.resolve() == target.resolve():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as file, replacing(target, alone=True) as copy:
        shutil.copyfileobj(file, copy)


def _epochs(checkpoint: Mapping[str, Any]) -> Rows:
    rows: Rows = checkpoint["run"]["epochs"]
    return rows


def _epochs_of(path: Path) -> Rows | str:
    """Return the history in a model's file, or what is wrong with the file."""
    try:
        return _epochs(checkpoints.read(path))
    except FileNotFoundError:
        return "is missing"
    except ValueError:
        return "can't be read"


def _begins_with(rows: Rows, beginning: Rows) -> bool:
    return repr(rows[: len(beginning)]) == repr(beginning)  # nan is nan here
