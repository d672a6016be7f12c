"""A report on a split, and the comparison of runs."""

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fashion.metrics.calibration import fit_calibration
from fashion.metrics.predictions import Predictions, per_class_table, score_predictions
from fashion.reports.compare import write_comparison
from fashion.reports.error_analysis import ErrorAnalysis
from fashion.reports.report import write_report
from fashion.training.run_folder import RunFolder

RUN = {
    "model": "resnet50", "backbone": "resnet50", "split": "test", "seed": 0, "drawn_sample": False,
    "epochs": None, "best_epoch": None, "config": {}, "versions": {},
    "seconds": {"total": None, "per_epoch": None}, "total_parameters": 0,
    "trainable_parameters": {"backbone": 0, "head": 0},
}  # fmt: skip


def draw_predictions(photos: int, classes: int, seed: int = 0) -> Predictions:
    """Return probabilities of peaked logits, three of four times highest for the true class."""
    random = np.random.default_rng(seed)
    targets = np.random.default_rng(0).integers(0, classes, photos)  # the same in each run
    probabilities = random.standard_exponential((photos, classes), dtype=np.float32)
    probabilities *= np.float32(0.5)
    near = np.where(random.random(photos) < 0.75, targets, random.integers(0, classes, photos))
    probabilities[np.arange(photos), near] += classes
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    ids = np.char.add("photo", np.arange(photos).astype(str))
    return Predictions(ids, probabilities, targets, tuple(f"class {k:05}" for k in range(classes)))


def prepare_report(folder: Path, photos: int, classes: int) -> None:
    """Save predictions."""
    draw_predictions(photos, classes).save(folder / "predictions.npz")


def run_report(folder: Path, photos: int, classes: int) -> None:
    """Write the report on them, calibrated on themselves; the photos' own parts are left out."""
    predictions = Predictions.load(folder / "predictions.npz")
    names = predictions.class_names
    counts = {name: {"train": 8, "val": 1, "test": 1} for name in names}
    data = {
        "root": "drawn", "rows_in_file": photos, "rows_read": photos, "rows_kept": photos,
        "dropped": {}, "classes": classes, "train": photos, "val": photos, "test": photos,
        "relabelled": 0, "split": "random", "split_seed": 0, "splits_sha256": "",
        "label_column": "articleType", "input_size": 224, "fit": "squash", "views": 0,
    }  # fmt: skip
    calibration = fit_calibration(predictions.probabilities, predictions.targets)
    run = {**RUN, "data": data, "class_counts": counts}
    predictions = replace(predictions, temperature=calibration.temperature)
    analysis = ErrorAnalysis(calibration=calibration)
    write_report(predictions, run, pd.DataFrame(), folder / "report", analysis)
    page = (folder / "report" / "index.html").stat().st_size
    assert page < 5e6 or classes > 1_000, page


def prepare_compare(folder: Path, photos: int, classes: int) -> None:
    """Save what three jobs of a sweep leave; a comparison has followed the second one."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    sweep = folder / "sweep"
    for seed in range(3):
        if seed == 2:
            write_comparison([sweep], folder / "comparison")
        run = RunFolder(sweep / f"seed={seed}")
        run.report("test").mkdir(parents=True)
        predictions = draw_predictions(photos, classes, seed)
        predictions.save(run.predictions("test"))
        scores = {**score_predictions(predictions), "support": photos}
        summary = {**RUN, "seed": seed, "test": scores}
        run.summary.write_text(json.dumps(summary))
        table = per_class_table(predictions)
        table.to_csv(run.report("test") / "per_class.csv", index=False)


def run_compare(folder: Path, photos: int, classes: int) -> None:
    """Compare the three, as at the end of the third job."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:  # as it was, each time
        shutil.copytree(folder / "cache", cache, dirs_exist_ok=True)
        os.environ["XDG_CACHE_HOME"] = cache
        write_comparison([folder / "sweep"], folder / "comparison")
