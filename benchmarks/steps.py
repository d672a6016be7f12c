"""What the timings of training steps share: settings, options, the clock, the line they print."""

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import lightning
import timm
import torch
import yaml
from lightning import Callback

from fashion.metrics.study import load_study

CONF = Path(__file__).parents[1] / "conf" / "model"
STUDY = load_study()
MODELS = list(STUDY["models"])
NUM_CLASSES = len(STUDY["class_names"])
# Trainer settings for a run that writes nothing.
SILENT: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class StepClock(Callback):
    """Reads the clock at the start of `fit` and after every step."""

    def __init__(self) -> None:
        self.readings: list[float] = []

    def on_train_start(self, *args: Any) -> None:
        """Start."""
        self.readings.append(time.perf_counter())

    def on_train_batch_end(self, *args: Any) -> None:
        """End a step."""
        self.readings.append(time.perf_counter())

    def figures(self, options: argparse.Namespace) -> dict[str, Any]:
        """Return the rate of the steps after the warm-up, each with its batch's delivery."""
        seconds = [end - start for start, end in itertools.pairwise(self.readings)]
        timed = seconds[options.warmup :]
        return {
            "images_per_second": round(options.batch_size / statistics.median(timed), 3),
            "all_seconds": [round(second, 4) for second in timed],
            "compile_seconds": round(seconds[0], 2),
        }


def load_settings(model: str) -> dict[str, Any]:
    """Return `conf/model/base.yaml` with what `model` changes of it, nothing interpolated."""
    files = (CONF / "base.yaml", CONF / f"{model}.yaml")
    base, own = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in files)
    return base | own


def step_options(description: str, precision: str) -> argparse.ArgumentParser:
    """Return a parser of the common options; `precision` is the default one."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", choices=MODELS, default="resnet50", help="default: %(default)s")
    parser.add_argument("--precision", default=precision, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--input-size", type=int, help="default: the study's")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=10, help="timed; default: %(default)s")
    parser.add_argument("--warmup", type=int, default=3, help="not timed; default: %(default)s")
    return parser


def check_positive(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the process where nothing would be timed."""
    if min(options.steps, options.warmup) < 1:
        parser.error("--steps and --warmup must be 1 at least")


def print_line(peer: str, options: argparse.Namespace, figures: dict[str, Any]) -> None:
    """Print a measurement as one line of JSON."""
    keys = ("model", "precision", "compile", "batch_size", "threads")
    line = {
        "peer": peer,
        **{key: getattr(options, key) for key in keys if hasattr(options, key)},
        **figures,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "lightning": lightning.__version__,
            "timm": timm.__version__,
        },
    }
    sys.stdout.write(json.dumps(line) + "\n")
