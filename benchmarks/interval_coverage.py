"""Measures how often the 95 % intervals hold the truth, and how often models seem to differ.

The test set is drawn: 54 classes and 4,215 images as long-tailed as the catalogue's, whose class
sizes stay the same as a stratified split's do, and probabilities of a model of known accuracy,
macro-F1 and macro-AUPRC. Each repetition draws it anew, makes the intervals, and tests six models
that are equally good and agree on many images. Reduced for the sake of time: 400 resamples where
`intervals` takes 2,000. The truth is the mean over four samples of 4,000 images a class,
weighted to the proportions of the test set. `benchmarks/interval_coverage.json` keeps the figures.
"""

import argparse
import json
import math
import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from machine import machine
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from fashion.metrics.intervals import ALPHA, compare_pairs, interval, wilson
from fashion.metrics.metrics import FIGURES, classification_metrics
from fashion.metrics.predictions import Predictions
from fashion.metrics.resampling import bootstrap

RESULTS = Path(__file__).with_suffix(".json")
K, N = 54, 4215
RANKS = np.arange(1, K + 1)
SIZES = np.maximum(np.round(728 * RANKS**-0.745 * 0.9797 ** (RANKS - 1)), 10).astype(int)
SIZES[0] += N - SIZES.sum()
SIGNALS = 5.1 + 1.2 * np.random.default_rng(0).standard_normal(K)  # how easy each class is
NUM_MODELS = 6
INTERVALS = [
    ("Wilson", "accuracy"),
    *((kind, name) for name in FIGURES[1:] for kind in ("percentile", "bias-corrected")),
]
Figures = dict[str, Any]


def draw_probabilities(
    targets: NDArray[np.int64], rng: np.random.Generator, num_models: int
) -> list[NDArray[np.float32]]:
    """Draw what equally good models say, `(N, K)` each.

    The logits are the class's signal at the target, a part of the log of the class's size, how
    easy the image is, and noise; the models share the image's ease and half of the noise.
    """
    n = len(targets)
    shared = rng.standard_normal((n, K), np.float32)
    prior = 0.45 * np.log(SIZES).astype(np.float32)
    ease = SIGNALS[targets] + 2 * rng.standard_normal(n)
    drawn = []
    for _ in range(num_models):
        own = rng.standard_normal((n, K), np.float32)
        logits = (shared + own) / math.sqrt(2) + prior
        logits[np.arange(n), targets] += ease
        drawn.append(softmax(logits, axis=1))
    return drawn


def true_figures(images_per_class: int = 4000, num_samples: int = 4) -> dict[str, float]:
    """Return the figures that an endless test set of the same class proportions has."""
    targets = np.repeat(np.arange(K), images_per_class)
    weights = SIZES[targets] / images_per_class
    samples = []
    for seed in range(num_samples):
        scores = draw_probabilities(targets, np.random.default_rng([seed, 1]), 1)[0]
        predicted = scores.argmax(axis=1)
        precisions = [
            average_precision_score(targets == k, scores[:, k], sample_weight=weights)
            for k in range(K)
        ]
        f1 = f1_score(targets, predicted, average="macro", sample_weight=weights)
        accuracy = accuracy_score(targets, predicted, sample_weight=weights)
        samples.append([accuracy, f1, np.mean(precisions)])
    return dict(zip(FIGURES, np.mean(samples, axis=0).tolist(), strict=True))


def repeat(seed: int, truth: dict[str, float], num_resamples: int) -> Figures:
    """Draw one test set, and return its intervals and what is true of each.

    Returns:
        `intervals`, one row per figure and kind, and `alarm` and `uncorrected_alarm`: whether any
        of the pairs is found to differ, with Holm's correction and without it.
    """
    targets = np.repeat(np.arange(K), SIZES)
    models = draw_probabilities(targets, np.random.default_rng([seed, 0]), NUM_MODELS)
    names = tuple(str(k) for k in range(K))
    first = Predictions(targets.astype(np.str_), models[0], targets, names)
    estimates = classification_metrics(torch.from_numpy(models[0]), torch.from_numpy(targets))
    replicates = bootstrap(first, num_resamples, seed)
    pairs = compare_pairs({str(i): m.argmax(axis=1) == targets for i, m in enumerate(models)})
    return {
        "intervals": [
            _judge(kind, name, estimates[name], replicates[name], truth[name])
            for kind, name in INTERVALS
        ],
        "alarm": bool(pairs["is_real"].any()),
        "uncorrected_alarm": bool((pairs["p"] < ALPHA).any()),
    }


def _judge(
    kind: str, name: str, estimate: float, replicates: NDArray[np.float64], true: float
) -> Figures:
    if kind == "Wilson":
        low, high = wilson(estimate, N)
    else:
        low, high = interval(estimate, replicates, bias_corrected=kind == "bias-corrected")
    return {
        "figure": name,
        "interval": kind,
        "true": true,
        "coverage": low <= true <= high,
        "too_low": high < true,
        "too_high": low > true,
        "width": high - low,
        "estimate_bias": estimate - true,
        "replicate_bias": replicates.mean() - estimate,
    }


def table(results: Figures) -> str:
    """Return the figures in Markdown."""
    rows = pd.DataFrame(results["intervals"])
    shares = ["coverage", "too_low", "too_high"]
    rows[shares] = rows[shares].map("{:.1%}".format)
    for name in ("true", "width", "estimate_bias", "replicate_bias"):
        rows[name] = rows[name].map("{:.4f}".format)
    rows.columns = rows.columns.str.replace("_", " ")
    lines = [rows.columns, ["---"] * len(rows.columns), *rows.to_numpy()]
    shown = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
    return (
        f"{shown}\n\n"
        f"{results['repetitions']} repetitions of {results['resamples']} resamples; a coverage of "
        f"95 % has a standard error of {math.sqrt(0.95 * 0.05 / results['repetitions']):.1%}.\n"
        f"Any of {math.comb(NUM_MODELS, 2)} pairs of {NUM_MODELS} equally good models found to "
        f"differ: {results['false_alarms']:.1%} of repetitions, "
        f"{results['uncorrected_false_alarms']:.1%} without Holm's correction.\n"
    )


def measure(repetitions: int, num_resamples: int) -> Figures:
    """Repeat in as many processes as there are cores, and return the means."""
    truth = true_figures()
    task = partial(repeat, truth=truth, num_resamples=num_resamples)
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        outcomes = list(pool.map(task, range(repetitions), chunksize=4))
    rows = pd.DataFrame([row for outcome in outcomes for row in outcome["intervals"]])
    means = rows.groupby(["figure", "interval"], sort=False).mean().reset_index()
    return {
        "repetitions": repetitions,
        "resamples": num_resamples,
        "intervals": means.to_dict("records"),
        "false_alarms": float(np.mean([outcome["alarm"] for outcome in outcomes])),
        "uncorrected_false_alarms": float(np.mean([o["uncorrected_alarm"] for o in outcomes])),
    }


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].replace("%", "%%"))
    parser.add_argument("--repetitions", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--resamples", type=int, default=400, help="default: %(default)s")
    parser.add_argument("--json", type=Path, default=RESULTS, help="default: %(default)s")
    options = parser.parse_args()
    if min(options.repetitions, options.resamples) < 1:
        parser.error("--repetitions and --resamples must be 1 at least")
    return options


def main() -> None:
    """Measure, print and write the figures."""
    options = parse()
    start = time.perf_counter()
    results = measure(options.repetitions, options.resamples)
    versions = {name: version(name) for name in ("numpy", "scipy", "statsmodels", "scikit-learn")}
    here = machine() | {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "seconds": round(time.perf_counter() - start),
        "versions": {"python": platform.python_version(), **versions},
    }
    options.json.write_text(json.dumps(results | {"machine": here}, indent=2) + "\n")
    sys.stdout.write(table(results))


if __name__ == "__main__":
    main()
