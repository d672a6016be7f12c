"""Measures what corrections bring on the real catalogue, and whether their precision is told right.

The training photos of the study's splits are halved. A model trained on the one half labels the
other as a service does; of the photos that it asks about, unsure and blind ones, an oracle gives
the catalogue's labels. Trained again with these, and with as many photos drawn at random instead,
models are compared on the test photos by the project's paired bootstrap. Then 1,000 months are
drawn from the model's probabilities of the served half, and intervals of the live precision made
of the blind share of each; the same from drawn probabilities, as those of `interval_coverage.py`,
takes a minute. `benchmarks/corrections.json` keeps the figures.

All is kept in a folder, so that the same command goes on where it was killed.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from interval_coverage import SIZES, K, draw_probabilities
from machine import machine
from scipy.optimize import brentq
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from fashion.data.preparation import load, split
from fashion.data.settings import DataSettings
from fashion.labelling.checkpoint_models import open_models
from fashion.metrics.intervals import compare_pairs, interval
from fashion.metrics.metrics import FIGURES
from fashion.metrics.predictions import Predictions, score_predictions
from fashion.metrics.resampling import bootstrap
from fashion.metrics.scaling import answered_from, choose_threshold
from fashion.review.binomial import ALPHA, jeffreys
from fashion.review.decisions import Decision
from fashion.review.exports import export
from fashion.review.review_store import BLIND_SHARE, ReviewStore
from fashion.training.run_folder import RunFolder

REPO = Path(__file__).parents[1]
RESULTS = Path(__file__).with_suffix(".json")
PRECISION = 0.98
NUMBERS = (500, 4000)
RESAMPLES = 2000
MONTHS = 1000
RATES = (0.01, 0.02, BLIND_SHARE, 0.1, 0.2)
PRECISIONS = (0.95, PRECISION, 0.99, 0.995)  # that drawn thresholds are chosen for
SETTINGS = (
    *(
        "model=resnet50",
        "model.input_size=64",
        "data.views=1",
        "data.fit=pad",
        "model.compile=false",
    ),
    *("data.split=given", "data.split_column=split", "data.min_images=1", "data.num_workers=1"),
    *("trainer.accelerator=cpu", "trainer.max_epochs=6"),
    *("model.optimizer.lr=3e-4", "trainer.enable_progress_bar=false", "robustness_photos=0"),
)


def mid_p(right: int, count: int) -> tuple[float, float]:
    """Give Clopper's and Pearson's interval with half the probability of what was seen."""

    def above(share: float) -> float:
        return float(binom.sf(right, count, share) + binom.pmf(right, count, share) / 2)

    low = brentq(lambda share: above(share) - ALPHA / 2, 0, 1) if right else 0.0
    high = brentq(lambda share: above(share) - 1 + ALPHA / 2, 0, 1) if right < count else 1.0
    return low, high


def _of_statsmodels(method: str) -> Callable[[int, int], tuple[float, float]]:
    return lambda right, count: proportion_confint(right, count, method=method)


INTERVALS: dict[str, Callable[[int, int], tuple[float, float]]] = {
    "Jeffreys": cache(jeffreys),
    "mid-P": cache(mid_p),
    "Wilson": cache(_of_statsmodels("wilson")),
    "Clopper-Pearson": cache(_of_statsmodels("beta")),
}
AT = "2026-01-01T00:00:00Z"


def make_catalogues(folder: Path, root: str, min_images: int = 100) -> None:
    """Write `base`, a catalogue of half the training photos with val and test, and `served`."""
    if (folder / "served" / "styles.csv").is_file():
        return
    asked = {"root": root, "cache_dir": str(folder / "cache"), "min_images": min_images}
    loaded = load(DataSettings.from_config(asked))
    table = split(loaded, {}).table
    draws = [hashlib.sha256(f"half {id_}".encode()).digest()[0] for id_ in table["id"]]
    is_served = (table["split"] == "train").to_numpy() & (np.array(draws) % 2 == 1)
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for id_, photo in zip(table["id"], table["photo"], strict=True):
        (images / f"{id_}.jpg").write_bytes(loaded.root.read(photo))
    for name, chosen in (("base", ~is_served), ("served", is_served)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "images").symlink_to(images, target_is_directory=True)
        rows = table[chosen].rename(columns={"label": "articleType"})
        rows[["id", "articleType", "split"]].to_csv(folder / name / "styles.csv", index=False)


def train(folder: Path, name: str, seed: int, weights: str, more: Path | None = None) -> Path:
    """Train a model, or go on with it, and return its folder."""
    run = folder / "runs" / f"{name}-seed{seed}"
    words = [
        *SETTINGS,
        *(f"data.root={folder / 'base'}", f"data.cache_dir={folder / 'cache'}"),
        *(f"model.weights={weights}", f"seed={seed}", f"hydra.run.dir={run}", "ckpt_path=auto"),
        *([f"data.more={more}"] if more else []),
    ]
    if not (run / "report" / "summary.json").is_file():
        _run(["train.py", *words])
    return run


def serve(folder: Path, run: Path) -> tuple[Predictions, float]:
    """Return calibrated predictions of the served half, and the threshold of sure ones."""
    path = folder / "served.npz"
    ckpt_path = run / "checkpoints" / "best.ckpt"
    if not path.is_file():
        words = [f"ckpt_path={ckpt_path}", "split=all", f"data.root={folder / 'served'}"]
        settings = [f"output_dir={folder / 'report'}", "robustness_photos=0"]
        _run(["-m", "fashion", "evaluate", *words, *settings, "trainer.accelerator=cpu"])
        (folder / "report" / "predictions-all.npz").replace(path)
    (model,) = open_models([ckpt_path])
    served = Predictions.load(path)
    assert model.calibration is not None
    calibrated = model.calibration.calibrate(served.probabilities)
    return (
        Predictions(served.image_ids, calibrated, served.targets, served.class_names),
        model.threshold(PRECISION),
    )


def review(folder: Path, served: Predictions, threshold: float) -> tuple[dict[int, Path], Any]:
    """Have an oracle decide on what is asked, and export it for each number of corrections."""
    store = ReviewStore(folder / "review")
    names = np.array(served.class_names)
    truth: dict[str, str] = {}
    for id_, probabilities, target in zip(
        served.image_ids, served.probabilities, served.targets, strict=True
    ):
        content = (folder / "images" / f"{id_}.jpg").read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        truth[sha256] = names[target]
        best = np.argsort(-probabilities, kind="stable")[:5]
        labels = [(str(names[k]), float(probabilities[k])) for k in best]
        store.offer(
            content, sha256=sha256, name=f"{id_}.jpg", size=(60, 80), labels=labels,
            sure=labels[0][1] >= threshold, model="base", threshold=threshold,
        )  # fmt: skip
    query = "SELECT sha256 FROM photos WHERE kind=? ORDER BY turn"
    kept = {kind: [row[0] for row in store.rows(query, kind)] for kind in ("unsure", "blind")}
    folders = {}
    for number in NUMBERS:
        blind = round(number * len(kept["blind"]) / (len(kept["blind"]) + len(kept["unsure"])))
        asked = [*kept["blind"][:blind], *kept["unsure"][: number - blind]]
        store.decide("oracle", [Decision(sha, "corrected", truth[sha], AT) for sha in asked])
        folders[number] = folder / f"asked{number}"
        if not (folders[number] / "more" / "corrections.csv").is_file():
            export(store, folders[number])
    store.close()
    return folders, {kind: len(photos) for kind, photos in kept.items()}


def draw_random(folder: Path, served: Predictions, number: int) -> Path:
    """Write a catalogue of so many served photos drawn at random."""
    more = folder / f"random{number}" / "more"
    if not (more / "corrections.csv").is_file():
        more.mkdir(parents=True, exist_ok=True)
        if not (more / "images").exists():
            (more / "images").symlink_to(folder / "images", target_is_directory=True)
        rows = np.random.default_rng(number).permutation(len(served.targets))[:number]
        labels = np.array(served.class_names)[served.targets[rows]]
        table = pd.DataFrame({"id": served.image_ids[rows], "label": labels})
        table.to_csv(more / "corrections.csv", index=False)
    return more


def gain(first: Sequence[Predictions], second: Sequence[Predictions]) -> dict[str, Any]:
    """Return what the second models gain over the first, each a mean over seeds, with intervals."""
    means = [
        {name: np.mean([each[name] for each in replicates], axis=0) for name in FIGURES}
        for replicates in ([bootstrap(run, RESAMPLES) for run in runs] for runs in (first, second))
    ]
    figures = [
        {name: np.mean([each[name] for each in scores]) for name in FIGURES}
        for scores in ([score_predictions(run) for run in runs] for runs in (first, second))
    ]
    gains: dict[str, Any] = {}
    for name in FIGURES:
        difference = float(figures[1][name] - figures[0][name])
        ends = interval(difference, means[1][name] - means[0][name], bias_corrected=False)
        gains[name] = {"gain": difference, "low": ends[0], "high": ends[1]}
    pair = compare_pairs({"first": first[0].hits(), "second": second[0].hits()})
    return gains | {"p_of_first_seed": float(pair["p"].iloc[0])}


def months(served: Predictions, threshold: float) -> list[dict[str, Any]]:
    """Draw months of served photos, and count how often an interval holds their precision."""
    sure = served.confidences >= threshold
    hits = served.hits()
    rows = []
    for rate in RATES:
        drawn = np.random.default_rng([round(1000 * rate), MONTHS])
        held: dict[str, list[bool]] = {kind: [] for kind in INTERVALS}
        widths: dict[str, list[float]] = {kind: [] for kind in INTERVALS}
        for _ in range(MONTHS):
            size = int(drawn.integers(1_500, 6_001))
            month = drawn.permutation(len(sure))[:size]
            month = month[sure[month]]
            truth = hits[month].mean()
            blind = hits[month[drawn.random(len(month)) < rate]]
            for kind, make in INTERVALS.items():
                low, high = make(int(blind.sum()), len(blind))
                held[kind].append(bool(low <= truth <= high))
                widths[kind].append(high - low)
        rows += [
            {"rate": rate, "interval": kind, "held": sum(held[kind]), "months": MONTHS,
             "mean_width": float(np.mean(widths[kind]))}
            for kind in INTERVALS
        ]  # fmt: skip
    return rows


def drawn_months() -> list[dict[str, Any]]:
    """Do as `months` with drawn probabilities of 16,860 photos, for several precisions."""
    targets = np.repeat(np.arange(K), 4 * SIZES)
    names = tuple(str(k) for k in range(K))
    (drawn,) = draw_probabilities(targets, np.random.default_rng([0, 2]), 1)
    served = Predictions(targets.astype(np.str_), drawn, targets, names)
    curve = answered_from(served.confidences, served.hits())
    return [
        {"precision": precision, **row}
        for precision in PRECISIONS
        for row in months(served, choose_threshold(curve, precision))
    ]


def describe(results: Mapping[str, Any]) -> str:
    """Return the figures in Markdown."""
    lines = []
    if results.get("gains"):
        lines += [
            "| corrections | asked for: gain in accuracy | drawn at random: gain | asked less "
            "random |",
            "|---|---|---|---|",
        ]
    for number, found in results.get("gains", {}).items():
        cells = [
            f"{100 * each['accuracy']['gain']:+.2f} "
            f"[{100 * each['accuracy']['low']:+.2f}, {100 * each['accuracy']['high']:+.2f}]"
            for each in (found["asked"], found["random"], found["asked_less_random"])
        ]
        lines.append(f"| {int(number):,} | {' | '.join(cells)} |")
    lines += ["", f"| probabilities | precision | {' | '.join(INTERVALS)} |"]
    lines += [f"|---|---|{'---|' * len(INTERVALS)}"]
    for said, rows in (
        ("of the catalogue", results.get("months", ())),
        ("drawn", results["drawn_months"]),
    ):
        for precision in sorted({row.get("precision", PRECISION) for row in rows}):
            held: dict[str, list[int]] = {kind: [] for kind in INTERVALS}
            for row in rows:
                if row.get("precision", PRECISION) == precision:
                    held[row["interval"]].append(row["held"])
            ranges = (f"{min(numbers)} to {max(numbers)}" for numbers in held.values())
            lines.append(f"| {said} | {precision:.1%} | {' | '.join(ranges)} |")
    return "\n".join(lines).strip() + "\n"


def measure(
    folder: Path, root: str, weights: str, seeds: int, *, drawn_only: bool = False
) -> Iterator[dict[str, Any]]:
    """Do all of it, and yield what is known so far."""
    yield {"drawn_months": drawn_months()}
    if drawn_only:
        return
    make_catalogues(folder, root)
    base = [train(folder, "base", seed, weights) for seed in range(seeds)]
    served, threshold = serve(folder, base[0])
    asked, kept = review(folder, served, threshold)
    sure = served.confidences >= threshold
    results: dict[str, Any] = {
        "served": {
            "photos": len(sure), "threshold": threshold, "sure": int(sure.sum()),
            "precision_of_sure": float(served.hits()[sure].mean()), "kept": kept,
            "accuracy": float(served.hits().mean()),
        },
        "drawn_months": drawn_months(),
        "months": months(served, threshold),
        "gains": {},
    }  # fmt: skip
    yield results
    for number in reversed(NUMBERS):  # the most first, which tells most
        runs: dict[str, list[Path]] = {"base": base}
        more = {"asked": asked[number] / "more", "random": draw_random(folder, served, number)}
        for kind, catalogue in more.items():
            runs[kind] = [
                train(folder, f"{kind}{number}", seed, weights, catalogue) for seed in range(seeds)
            ]
        tested = {
            kind: [
                Predictions.load(RunFolder(run).predictions("test")).sorted_by_id() for run in each
            ]
            for kind, each in runs.items()
        }
        results["gains"][number] = {
            "asked": gain(tested["base"], tested["asked"]),
            "random": gain(tested["base"], tested["random"]),
            "asked_less_random": gain(tested["random"], tested["asked"]),
            "added": {kind: _added(runs[kind][0]) for kind in ("asked", "random")},
            "accuracy": {
                kind: float(np.mean([run.hits().mean() for run in each]))
                for kind, each in tested.items()
            },
        }
        yield results


def _tested(run: Path) -> Predictions:
    return Predictions.load(RunFolder(run).predictions("test")).sorted_by_id()


def _added(run: Path) -> dict[str, int]:
    summary = json.loads((run / "report" / "summary.json").read_text())
    added: dict[str, int] = summary["data"]["more"]
    return added


def _run(words: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    subprocess.run([sys.executable, *words], cwd=REPO, env=environment, check=True)


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].replace("%", "%%"))
    parser.add_argument(
        "--folder", type=Path, default=Path("corrections"), help="where all is kept, 2 GB"
    )
    parser.add_argument("--root", default=os.environ.get("FASHION_DATA"), help="the catalogue")
    parser.add_argument("--weights", default=os.environ.get("FASHION_WEIGHTS"), help="a folder")
    parser.add_argument("--seeds", type=int, default=1, help="of each training, %(default)s")
    parser.add_argument("--json", type=Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument("--drawn-only", action="store_true", help="train nothing")
    options = parser.parse_args()
    if options.drawn_only:
        return options
    if not options.root or not options.weights:
        parser.error("pass --root and --weights, or set FASHION_DATA and FASHION_WEIGHTS")
    return options


def main() -> None:
    """Measure, print and write the figures."""
    options = parse()
    start = time.perf_counter()
    folder = options.folder.absolute()
    asked = (options.root, options.weights, options.seeds)
    for results in measure(folder, *asked, drawn_only=options.drawn_only):
        here = machine() | {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "seconds": round(time.perf_counter() - start),
            "seeds": options.seeds,
            "settings": [*SETTINGS],
        }
        options.json.write_text(json.dumps(results | {"machine": here}, indent=2) + "\n")
        sys.stdout.write(f"{describe(results)}\n")


if __name__ == "__main__":
    main()
