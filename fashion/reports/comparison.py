"""Runs side by side: figures with their intervals, which differences are real, what they cost."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fashion.metrics.intervals import (
    compare_pairs,
    effective_count,
    figure_intervals,
    over_seeds,
)
from fashion.metrics.metrics import FIGURES
from fashion.metrics.study import load_study
from fashion.reports.attribute_comparison import attribute_columns, compare_attributes
from fashion.reports.speed import inference_speed
from fashion.reports.tested import Photos, Tested, examine, read_photos
from fashion.training.resume import MAY_DIFFER_BETWEEN_SEEDS, describe_changes
from fashion.training.run_folder import RunFolder, find_runs

NUM_RESAMPLES = 2000
NEAR_BEST = 0.99
COUNTS = ("best_epoch", "epochs", "epochs_to_99", "trainable_parameters", "total_parameters")
Replicates = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Run:
    """A run's folder and what it has left there.

    Attributes:
        name: What it is called in tables.
        folder: Where it lies.
        summary: Its report's; empty unless it is finished.
        error: What it failed with, in one line.
    """

    name: str
    folder: RunFolder
    summary: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def status(self) -> str:
        """`finished`, `failed`, or `missing` where it left neither a summary nor an error."""
        if self.error:
            return "failed"
        return "finished" if self.summary else "missing"

    @cached_property
    def photos(self) -> Photos | None:
        """Those that it was tested on; None where it left no predictions."""
        path = self.folder.predictions("test")
        return read_photos(path) if self.status == "finished" and path.is_file() else None

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch; empty where none was written."""
        path = self.folder.history
        return pd.read_csv(path) if path.is_file() else pd.DataFrame()


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        table: One row a run, a group of runs that differ in their seed, or the ensemble of all,
            sorted by macro-AUPRC. The study's figures are columns of it where a run's classes are
            the study's.
        pairs: As `fashion.metrics.intervals.compare_pairs` returns it.
        verdicts: Sentences on which differences are real.
        warning: Why runs are listed and not compared; empty where they are.
        attribute_pairs: As `fashion.reports.attribute_comparison.compare_attributes` returns it.
        num_resamples: Of which the macro figures' intervals are made, the fewest of a run.
    """

    table: pd.DataFrame
    pairs: pd.DataFrame
    verdicts: list[str]
    warning: str = ""
    num_resamples: int = NUM_RESAMPLES
    attribute_pairs: pd.DataFrame = field(default_factory=pd.DataFrame)


def read_runs(folders: Iterable[str | Path]) -> list[Run]:
    """Read the runs that lie in folders, or are those folders.

    Raises:
        FileNotFoundError: As `find_runs`.
        ValueError: A run's summary is none.
    """
    run_folders = find_runs(folders)
    shared = os.path.commonpath([folder.path.parent for folder in run_folders])
    return [_read_run(folder.path.relative_to(shared).as_posix(), folder) for folder in run_folders]


def compare(runs: Sequence[Run]) -> Comparison:
    """Tabulate runs and test their differences.

    Runs that were tested on different photos are listed, each with its own interval, and the
    comparison's warning says so.
    """
    photos = {run.name: run.photos for run in runs if run.photos is not None}
    members = [run for run in runs if run.name in photos]
    tested = {run.name: _examine([run]) for run in members}
    replicates = {name: each.replicates for name, each in tested.items()}
    studied = any("study" in run.summary for run in runs)
    rows = [_run_row(run, replicates.get(run.name), studied=studied) for run in runs]
    pairs, verdicts = compare_pairs({}), []
    warning = describe_different_images(photos)
    if not warning and len(members) > 1:
        groups = _groups(members)
        rows += [
            _seeds_row(name, group, [replicates[run.name] for run in group], studied=studied)
            for name, group in groups.items()
            if len(group) > 1
        ]
        name = f"ensemble of {len(members)}"
        ensemble = _examine(members)
        rows.append(_ensemble_row(name, ensemble, members))
        pairs = compare_pairs({key: one.hits for key, one in {**tested, name: ensemble}.items()})
        group_of = {run.name: group for group, runs in groups.items() for run in runs}
        verdicts = describe_pairs(pairs, {**group_of, name: name})
    table = pd.DataFrame(rows)
    if not table.empty:
        table = table.astype(dict.fromkeys(COUNTS, "Int64"))
        table = table.sort_values("macro_auprc", ascending=False, ignore_index=True)
    with_attributes = [run for run in members if run.summary["test"].get("attributes")]
    paths = {run.name: run.folder.predictions("test") for run in with_attributes}
    attribute_pairs = compare_attributes(paths) if with_attributes else pd.DataFrame()
    fewest = min((len(of_run[FIGURES[0]]) for of_run in replicates.values()), default=NUM_RESAMPLES)
    return Comparison(table, pairs, verdicts, warning, fewest, attribute_pairs)


def describe_different_images(photos: Mapping[str, Photos]) -> str:
    """Return in one line how the test images of runs differ; nothing where they are the same.

    Args:
        photos: By the run's name.
    """
    first = next(iter(photos), "")
    for name, other in photos.items():
        one = photos[first]
        if one.class_names != other.class_names:
            return (
                f"{first} and {name} can't be compared: they tell {len(one.class_names)} and "
                f"{len(other.class_names)} classes apart that differ. Pass runs on the same "
                "catalogue and data.label_column."
            )
        same = np.array_equal(one.ids, other.ids)
        if not same or not np.array_equal(one.targets, other.targets):
            shared = len(np.intersect1d(one.ids, other.ids))
            what = f"share {shared:,} test photos" if not same else "label some photos differently"
            return (
                f"{first} ({len(one.targets):,} test photos) and {name} ({len(other.targets):,}) "
                f"can't be compared: they {what}. Pass runs of one catalogue with the same "
                "data.split, data.split_seed and data.fold."
            )
    return ""


def describe_pairs(pairs: pd.DataFrame, group_of: Mapping[str, str]) -> list[str]:
    """Say in words which differences of `compare_pairs` are real.

    Two groups differ where each run of one differs from each run of the other, the same way round.

    Args:
        pairs: As `compare_pairs` returns it.
        group_of: Of each run's name, the name of its group.
    """
    between: dict[tuple[str, str], list[tuple[float, float, bool]]] = {}
    for pair in pairs.to_dict("records"):
        first, second = group_of[pair["first"]], group_of[pair["second"]]
        if first == second:
            continue
        sign = 1 if first < second else -1
        names = (first, second) if sign == 1 else (second, first)
        between.setdefault(names, []).append(
            (sign * pair["difference"], pair["p_holm"], pair["is_real"])
        )
    real, open_ = [], []
    for (first, second), tests in between.items():
        differences = [difference for difference, _, _ in tests]
        one_way = min(differences) > 0 or max(differences) < 0
        if one_way and all(is_real for _, _, is_real in tests):
            better, worse = (first, second) if differences[0] > 0 else (second, first)
            sizes = sorted(abs(100 * difference) for difference in differences)
            span = f"{sizes[0]:.2f}" + (f" to {sizes[-1]:.2f}" if len(sizes) > 1 else "")
            highest = max(p for _, p, _ in tests)
            p = "p < 0.001" if highest < 0.001 else f"p = {highest:.3f}"
            if len(tests) > 1:
                p = f"p ≤ {max(highest, 0.001):.3f} for each pair of runs"
            real.append((sizes[-1], f"{better} is better than {worse} by {span} points ({p})."))
        else:
            open_.append(f"{first} and {second}")
    sentences = [sentence for _, sentence in sorted(real, reverse=True)]
    if open_:
        sentences.append(f"Not told apart on these photos: {'; '.join(open_)}.")
    return sentences


def _read_run(name: str, folder: RunFolder) -> Run:
    error_path, summary_path = folder.error, folder.summary
    if error_path.exists():
        return Run(name, folder, error=" ".join(error_path.read_text().split()) or "unknown error")
    if not summary_path.is_file():
        return Run(name, folder)
    try:
        summary = json.loads(summary_path.read_text(encoding="utf-8"))
        return Run(name, folder, summary={**summary, "test": dict(summary["test"])})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{summary_path} is no run's summary ({error}).") from error


def _run_row(run: Run, replicates: Replicates | None, *, studied: bool) -> dict[str, Any]:
    summary, test = run.summary, run.summary.get("test", {})
    row: dict[str, Any] = {"run": run.name, "kind": "run", "status": run.status}
    row |= _figures(test, replicates, test.get("support", 0))
    row |= _study_columns(run) if studied else {}
    row |= attribute_columns(test)
    row["best_epoch"] = summary.get("best_epoch")
    row["epochs"] = summary.get("epochs")
    row["epochs_to_99"] = epochs_to(run.history, NEAR_BEST)
    row["trainable_parameters"] = sum(summary.get("trainable_parameters", {}).values()) or None
    row["total_parameters"] = summary.get("total_parameters")
    row["seconds_per_epoch"] = summary.get("seconds", {}).get("per_epoch")
    row["images_per_second"] = inference_speed(run.folder) if summary else None
    best = run.folder.best
    row["checkpoint_mb"] = round(best.stat().st_size / 1e6, 1) if best.is_file() else None
    row["error"] = run.error
    return row


def _study_columns(run: Run) -> dict[str, Any]:
    """Return the study's figures of a run's model.

    A run that hasn't finished has those of the model that its folder is named after.
    """
    study = run.summary.get("study", {})
    if not run.summary:
        study = load_study()["models"].get(run.folder.path.name.split(",")[0], {})
    return {
        "study_accuracy": study.get("test_accuracy"),
        "study_macro_auprc": study.get("macro_auprc"),
    }


def _seeds_row(
    name: str, runs: Sequence[Run], replicates: list[Replicates], *, studied: bool
) -> dict[str, Any]:
    means = {key: float(np.mean([run.summary["test"][key] for run in runs])) for key in FIGURES}
    drawn = over_seeds(replicates)
    support: int = runs[0].summary["test"]["support"]
    count = effective_count(means["accuracy"], drawn["accuracy"], support)
    return {
        "run": f"{name}, mean of {len(runs)} seeds",
        "kind": "seeds",
        "status": "finished",
        **_figures(means, drawn, count),
        **(_study_columns(runs[0]) if studied else {}),
        "error": "",
    }


def _ensemble_row(name: str, ensemble: Tested, runs: Sequence[Run]) -> dict[str, Any]:
    seconds = [1 / speed for run in runs if (speed := inference_speed(run.folder))]
    row: dict[str, Any] = {"run": name, "kind": "ensemble", "status": "finished"}
    row |= _figures(ensemble.scores, ensemble.replicates, len(ensemble.hits))
    if len(seconds) == len(runs):
        row["images_per_second"] = round(1 / sum(seconds), 1)
    return {**row, "error": ""}


def _figures(
    scores: Mapping[str, float], replicates: Replicates | None, count: float
) -> dict[str, Any]:
    estimates = {name: scores.get(name) for name in FIGURES}
    defined = {name: value for name, value in estimates.items() if value is not None}
    bounds = figure_intervals(defined, replicates, count) if replicates and defined else {}
    row: dict[str, Any] = {}
    for name in FIGURES:
        for column in (name, f"{name}_low", f"{name}_high"):
            value = estimates[name] if column == name else bounds.get(column)
            row[column] = None if value is None else round(value, 4)
    return row


def epochs_to(history: pd.DataFrame, share: float) -> int | None:
    """Return after how many epochs the validation macro-AUPRC reached a share of its best."""
    if "val/macro_auprc" not in history or not history["val/macro_auprc"].notna().any():
        return None
    values = history["val/macro_auprc"]
    return int((values >= share * values.max()).to_numpy().argmax()) + 1


def _groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Put together the runs that differ in their seed only, under a name without it."""
    groups: list[list[Run]] = []
    for run in runs:
        for group in groups:
            before, after = group[0].summary["config"], run.summary["config"]
            if not describe_changes(before, after, MAY_DIFFER_BETWEEN_SEEDS):
                group.append(run)
                break
        else:
            groups.append([run])
    named = {}
    for group in groups:
        name = re.sub(r",?\bseed=\d+", "", group[0].name) if len(group) > 1 else group[0].name
        named[name if name and name not in named else group[0].name] = group
    return named


def _examine(runs: Sequence[Run]) -> Tested:
    return examine([run.folder.predictions("test") for run in runs], NUM_RESAMPLES)
