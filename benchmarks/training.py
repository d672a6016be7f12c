"""Compares this project's training with Keras' and with the plain timm loop, backbone by backbone.

Each measurement is a process of its own, one after the other, all with the same batch size and
threads; `benchmarks/results.json` keeps them with the ratios made of them. `--table` prints the
documentation's table from that file and measures nothing.
"""

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine

from fashion.devices.accelerators import cpu_has_bfloat16
from fashion.metrics.study import load_study

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
STUDY = load_study()
MODELS = list(STUDY["models"])
EPOCHS = 30  # of a run, as in conf/trainer
TRAIN, VAL = STUDY["splits"]["train"], STUDY["splits"]["val"]
KERAS = [
    {"precision": precision, "jit": jit}
    for precision in ("float32", "mixed_bfloat16")
    for jit in (False, True)
]
OWN = [
    {"precision": "32-true", "compile": False},
    {"precision": "32-true", "compile": True},
    {"precision": "bf16-mixed", "compile": False},
    {"precision": "bf16-mixed", "compile": True},
]
if not cpu_has_bfloat16():  # without its instructions it takes several times as long
    KERAS = [settings for settings in KERAS if "bfloat16" not in settings["precision"]]
    OWN = [settings for settings in OWN if "bf16" not in settings["precision"]]
Line = dict[str, Any]


Lines = dict[str, list[Line]]


def measure(model: str, options: argparse.Namespace, earlier: Lines | None) -> Lines:
    """Time all peers on one backbone.

    Args:
        model: Its name.
        options: Of the command line.
        earlier: Time the fastest settings of these again, and keep the lines of the others.
    """
    common = ["--model", model, "--batch-size", str(options.batch_size)]
    common += ["--threads", str(options.threads), "--warmup", str(options.warmup)]
    if options.input_size:
        common += ["--input-size", str(options.input_size)]
    steps = [*common, "--steps", str(options.steps)]
    lines: Lines = {"keras": [], "plain": [], "ordinary": [], "store": []}
    known = earlier or lines
    for repetition in range(options.repetitions):
        is_first = repetition == 0 and earlier is None
        for settings in _worth_repeating(KERAS, known["keras"], is_first):
            if is_first and settings["jit"] and _jit_is_hopeless(lines["keras"]):
                continue
            arguments = ["--precision", settings["precision"], *["--jit"] * settings["jit"]]
            arguments += ["--evaluate-steps", str(options.steps)]
            script = [options.keras_python, HERE / "keras_training.py"]
            lines["keras"].append(run(*script, *steps, *arguments))
        own = [sys.executable, HERE / "own_training.py"]
        for settings in _worth_repeating(OWN, known["ordinary"], is_first):
            arguments = _own_arguments(settings)
            lines["ordinary"].append(run(*own, *steps, *arguments))
        if is_first:  # it is too slow to be repeated: its median is that of its steps
            lines["plain"].append(run(sys.executable, HERE / "plain_training.py", *steps))
        best = _own_arguments(fastest(lines["ordinary"]))
        photos = ["--photos", str(options.photos), "--mode", "store"]
        lines["store"].append(run(*own, *common, *best, *photos))
    if earlier:
        for peer in ("keras", "ordinary"):
            again = _alike(earlier[peer], fastest(earlier[peer]))
            lines[peer] += [line for line in earlier[peer] if line not in again]
        lines["plain"] = earlier["plain"]
    return lines


def ratios(lines: dict[str, list[Line]], memory_gb: float) -> Line:
    """Return what the measurements say, best setting against best setting.

    Args:
        lines: The measurements of each peer.
        memory_gb: Of the machine. A run whose store is larger reads each epoch from the disk.
    """
    keras, own = fastest(lines["keras"]), fastest(lines["ordinary"])
    floats = [
        rate([line for line in lines[peer] if "32" in line["precision"]])
        for peer in ("ordinary", "keras")
    ]
    store, ordinary = lines["store"], rate(lines["ordinary"])
    warm, cold = rate(store), _median(store, "cold_images_per_second")
    evaluation = _median(_alike(lines["keras"], keras), "evaluate_images_per_second")
    keras_run = EPOCHS * (TRAIN / rate(lines["keras"]) + VAL / evaluation)
    runs = {views: own["compile_seconds"] + _own_run(store, views, memory_gb) for views in (1, 4)}
    return {
        "keras": {key: keras[key] for key in ("precision", "jit")},
        "own": {key: own[key] for key in ("precision", "compile")},
        "keras_images_per_second": rate(lines["keras"]),
        "plain_images_per_second": rate(lines["plain"]),
        "ordinary_images_per_second": ordinary,
        "store_images_per_second": warm,
        "ordinary_ratio": round(ordinary / rate(lines["keras"]), 2),
        "ordinary_ratio_float32": round(floats[0] / floats[1], 2),
        "plain_ratio": round(ordinary / rate(lines["plain"]), 2),
        "store_epoch_ratio": round(warm / ordinary, 2),
        "store_epoch_ratio_cold": round(cold / ordinary, 2),
        "run_ratio": round(keras_run / runs[1], 2),
        "run_ratio_4_views": round(keras_run / runs[4], 2),
        "keras_run_seconds": round(keras_run),
        "run_seconds": round(runs[1]),
        "run_seconds_4_views": round(runs[4]),
        "store_photos": store[0]["photos"],
        "store_gigabytes": round((TRAIN + VAL) * store[0]["bytes_per_photo"] / 1e9, 1),
        "peak_mib": max(line["peak_mib"] for line in store),
    }


def six_run_ratio(models: dict[str, Line]) -> dict[str, float]:
    """Return how many times as long all runs together take with Keras, by the views kept."""
    keras = sum(figures["keras_run_seconds"] for figures in models.values())
    return {
        views: round(keras / sum(figures[key] for figures in models.values()), 2)
        for views, key in (("1", "run_seconds"), ("4", "run_seconds_4_views"))
    }


def _own_run(store: list[Line], views: int, memory_gb: float) -> float:
    """Return the seconds of a whole run: filling, and all epochs with their validation."""
    num_photos = views * TRAIN + VAL
    kept = num_photos * store[0]["bytes_per_photo"] / 1e9 < memory_gb
    trained = _median(store, "images_per_second" if kept else "cold_images_per_second")
    epoch = TRAIN / trained + VAL / _median(store, "evaluate_images_per_second")
    return num_photos / _median(store, "fill_photos_per_second") + EPOCHS * epoch


def fastest(lines: list[Line]) -> Line:
    """Return a line of the fastest setting."""
    return max(lines, key=lambda line: _median(_alike(lines, line), "images_per_second"))


def rate(lines: list[Line]) -> float:
    """Return the images a second of the fastest setting, the median over its processes."""
    return _median(_alike(lines, fastest(lines)), "images_per_second")


def _alike(lines: list[Line], one: Line) -> list[Line]:
    keys = ("precision", "jit", "compile")
    return [line for line in lines if all(line.get(key) == one.get(key) for key in keys)]


def _median(lines: list[Line], key: str) -> float:
    return median(line[key] for line in lines)


def _worth_repeating(settings: list[Line], lines: list[Line], is_first: bool) -> list[Line]:
    """Return all settings at first, and later the fastest one."""
    if is_first:
        return settings
    best = fastest(lines)
    return [one for one in settings if all(one[key] == best[key] for key in one)]


def _jit_is_hopeless(lines: list[Line]) -> bool:
    """Return whether XLA took two thirds of float32's rate; then it isn't tried in bfloat16."""
    plain, compiled = (
        [
            line["images_per_second"]
            for line in lines
            if line["jit"] == jit and line["precision"] == "float32"
        ]
        for jit in (False, True)
    )
    return bool(compiled) and 3 * max(compiled) < max(plain)


def _own_arguments(settings: Line) -> list[str]:
    compiled = "--compile" if settings["compile"] else "--no-compile"
    return ["--precision", settings["precision"], compiled]


def run(*command: object) -> Line:
    """Run one measurement and return its line.

    Raises:
        SystemExit: It failed.
    """
    words = list(map(str, command))
    result = subprocess.run(words, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{result.stderr[-3000:]}")
    line: Line = json.loads(result.stdout.splitlines()[-1])
    sys.stderr.write(f"  {' '.join(words[1:])}: {line['images_per_second']} images/s\n")
    return line


def table(results: Line) -> str:
    """Return the table of docs/measurements.md."""
    lines = [
        "| model, input | Keras' best | plain loop | ordinary | from the store "
        "| ordinary : Keras (float32) | store : ordinary (cold) | 30 epochs : Keras, V = 1 (V = 4) "
        f"| a view of {TRAIN + VAL:,} photos (measured) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model, figures in results["models"].items():
        size = figures["lines"]["store"][0]["input_size"]
        lines.append(
            f"| {model}, {size} px "
            f"| {figures['keras_images_per_second']:.1f} "
            f"| {figures['plain_images_per_second']:.1f} "
            f"| {figures['ordinary_images_per_second']:.1f} "
            f"| {figures['store_images_per_second']:.0f} "
            f"| {figures['ordinary_ratio']:.2f} ({figures['ordinary_ratio_float32']:.2f}) "
            f"| {figures['store_epoch_ratio']:.1f} ({figures['store_epoch_ratio_cold']:.1f}) "
            f"| {figures['run_ratio']:.1f} ({figures['run_ratio_4_views']:.1f}) "
            f"| {figures['store_gigabytes']:.1f} GB ({figures['store_photos']} photos) |"
        )
    total = results["six_run_ratio"]
    lines.append(
        f"| all {len(results['models'])} | | | | | | | {total['1']:.1f} ({total['4']:.1f}) | |"
    )
    return "\n".join(lines) + "\n"


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, metavar="MODEL")
    parser.add_argument(
        "--keras-python", default=HERE / ".venv-keras" / "bin" / "python", metavar="FILE",
        help="of an environment made from keras-requirements.txt; default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--input-size", type=int, help="default: the study's")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=6, help="timed; default: %(default)s")
    parser.add_argument("--warmup", type=int, default=2, help="not timed; default: %(default)s")
    parser.add_argument("--photos", type=int, default=512, help="in a store; default: %(default)s")
    parser.add_argument("--repetitions", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--json", type=Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument(
        "--again", action="store_true",
        help="time the settings that were fastest again and keep the lines of the others",
    )  # fmt: skip
    parser.add_argument("--table", action="store_true", help="print the table and measure nothing")
    return parser.parse_args()


def main() -> None:
    """Measure, or print the table of what was measured."""
    options = parse()
    results = json.loads(options.json.read_text()) if options.json.exists() else {"models": {}}
    for model in () if options.table else options.models:
        sys.stderr.write(f"{model}\n")
        here = machine() | {"date": f"{datetime.now(UTC):%Y-%m-%d}"}
        earlier = results["models"][model]["lines"] if options.again else None
        lines = measure(model, options, earlier)
        figures = ratios(lines, here["memory_gb"])
        models = results["models"] | {model: figures | {"lines": lines, "machine": here}}
        results["models"] = {name: models[name] for name in MODELS if name in models}
        results["six_run_ratio"] = six_run_ratio(results["models"])
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    sys.stdout.write(table(results))


if __name__ == "__main__":
    main()
