"""Measures how each main path grows with photos and classes, in fresh processes, into scale.json.

The modules of `scale_paths` have two functions for a path: `prepare_PATH(folder, photos, classes)`
makes its inputs in an empty folder, and `run_PATH(folder, photos, classes)`, which is timed, calls
what the commands call. The peak is what the process tree holds resident, pages of mapped files
among it, sampled twenty times a second, or less often where looking takes long; what processes
share counts once where Linux tells, else in each.

    python benchmarks/scale.py                                  all rows of the table
    python benchmarks/scale.py --longest 600                    longer ones are extrapolated
    python benchmarks/scale.py --only metrics --photos 100000 --classes 300 1000
    python benchmarks/scale.py --only twins --keep FOLDER       inputs stay there for the next time
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from machine import machine

HERE = Path(__file__).parent
RESULTS = HERE / "scale.json"
# Path -> module of `scale_paths`.
PATHS = {
    "open": "reading",
    "table": "reading",
    "twins": "twins",
    "store": "stores",
    "split": "splits",
    "loader": "loaders",
    "metrics": "metrics",
    "report": "reports",
    "bootstrap": "metrics",
    "temperature": "metrics",
    "explore": "splits",
    "predict": "labelling",
    "compare": "reports",
}
PHOTOS, CLASSES = (10_000, 100_000, 1_000_000), 54
EVALUATED, EVALUATED_CLASSES = 100_000, (54, 300, 1_000, 10_000)
OF_A_SPLIT = ("metrics", "report", "bootstrap", "temperature", "compare")
CHILD = """
import importlib, json, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
module = importlib.import_module("scale_paths.{module}")
started = time.perf_counter()
getattr(module, "{step}_{path}")(Path({folder!r}), {photos}, {classes})
print(json.dumps(time.perf_counter() - started))
"""


class Size(NamedTuple):
    """How much a path is given."""

    path: str
    photos: int
    classes: int


class Measured(NamedTuple):
    """What a path took."""

    seconds: float
    peak_mb: float


def sizes(only: list[str], photos: list[int] | None, classes: list[int] | None) -> list[Size]:
    """Return the rows of the table, or those that are asked for."""
    rows = []
    for path in only or PATHS:
        grid = [(EVALUATED, K) for K in EVALUATED_CLASSES]
        if path not in OF_A_SPLIT:
            grid = [(N, CLASSES) for N in PHOTOS]
        if photos or classes:
            grid = [(N, K) for N in photos or [grid[0][0]] for K in classes or [CLASSES]]
        rows += [Size(path, N, K) for N, K in grid]
    return rows


def measure(size: Size, folder: Path) -> Measured:
    """Prepare a path's inputs where they aren't there, then run it in a process of its own."""
    inputs = folder / f"{size.path}-{size.photos}-{size.classes}"
    if not inputs.exists():
        part = inputs.with_suffix(".part")
        part.mkdir(parents=True)
        _run("prepare", size, part)
        part.rename(inputs)
    return _run("run", size, inputs)


def _run(step: str, size: Size, folder: Path) -> Measured:
    facts = {"here": str(HERE), "module": PATHS[size.path], "step": step, "folder": str(folder)}
    code = CHILD.format(**facts, **size._asdict())
    peak = 0
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            started = time.perf_counter()
            peak = max(peak, resident(tree))
            # The system walks through all pages for that, so that looking costs little beside.
            time.sleep(max(0.05, 20 * (time.perf_counter() - started)))
        assert process.stdout is not None
        output = process.stdout.read().decode().splitlines()
    if process.returncode:
        raise SystemExit(f"{size} ended with status {process.returncode}")
    return Measured(float(output[-1]), peak / 1e6)


def resident(process: psutil.Process) -> int:
    """Return the bytes that a process and its children hold resident, pages of mapped files too."""
    total = 0
    for each in _tree(process):
        try:
            lines = Path(f"/proc/{each.pid}/smaps_rollup").read_text().splitlines()
            total += 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, StopIteration):
            try:
                total += each.memory_info().rss
            except psutil.Error:
                continue
    return total


def _tree(process: psutil.Process) -> Iterable[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def exponent(rows: list[dict[str, Any]], by: str) -> float | None:
    """Return the slope of log seconds over log photos, or classes, between the two largest."""
    measured = sorted((row[by], row["seconds"]) for row in rows if not row["extrapolated"])
    if len(measured) < 2 or measured[-1][0] == measured[-2][0]:
        return None
    (small, before), (large, after) = measured[-2:]
    return math.log(after / before) / math.log(large / small)


def extrapolated(rows: list[dict[str, Any]], size: Size) -> Measured | None:
    """Return what a size would take as its path grew between the two sizes before it, if known."""
    by = "classes" if size.path in OF_A_SPLIT else "photos"
    wanted = getattr(size, by)
    before = [
        (row[by], row["seconds"], row["peak_mb"])
        for row in rows
        if row["path"] == size.path and not row["extrapolated"] and row[by] < wanted
    ]
    if len(before) < 2:
        return None
    (small, *first), (large, *second) = sorted(before)[-2:]
    steps = math.log(wanted / large) / math.log(large / small)
    seconds, peak = (b * (b / a) ** steps for a, b in zip(first, second, strict=True))
    return Measured(seconds, peak)


def table(results: dict[str, Any]) -> str:
    """Return the rows as a table of Markdown, with the exponent of growth of each path."""
    lines = [
        "| path | photos | classes | seconds | peak MB | grows as |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for path in PATHS:
        rows = [row for row in results["rows"] if row["path"] == path]
        by = "classes" if path in OF_A_SPLIT else "photos"
        slope = exponent(rows, by)
        for place, row in enumerate(rows):
            mark = " (extrapolated)" if row["extrapolated"] else ""
            last = place == len(rows) - 1 and slope is not None
            lines.append(
                f"| {path} | {row['photos']:,} | {row['classes']:,} | {row['seconds']:,.1f}{mark} "
                f"| {row['peak_mb']:,.0f} | {f'{by}^{slope:.2f}' if last else ''} |"
            )
    return "\n".join(lines) + "\n"


def _row(size: Size, rows: list[dict[str, Any]], folder: Path, longest: float) -> dict[str, Any]:
    guess = extrapolated(rows, size)
    is_guess = guess is not None and guess.seconds > longest
    seconds, peak = guess if guess and is_guess else measure(size, folder)
    figures = {"seconds": round(seconds, 3), "peak_mb": round(peak, 1)}
    return {**size._asdict(), **figures, "extrapolated": is_guess}


def _with(rows: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all rows, the new one in the place of the old one of its size."""
    by_size = {(row["path"], row["photos"], row["classes"]): row for row in [*rows, new]}
    order = list(PATHS)
    return sorted(
        by_size.values(), key=lambda r: (order.index(r["path"]), r["photos"], r["classes"])
    )


def main() -> None:
    """Measure what is asked for, and keep each row as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=PATHS, default=[])
    parser.add_argument("--photos", nargs="+", type=int)
    parser.add_argument("--classes", nargs="+", type=int)
    parser.add_argument("--keep", type=Path, help="folder in which the inputs stay")
    parser.add_argument("--output", type=Path, default=None, help="a JSON file; none: print alone")
    parser.add_argument(
        "--longest",
        type=float,
        default=math.inf,
        help="seconds, above which sizes are extrapolated",
    )
    asked = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(), "rows": []}
    if asked.output and asked.output.exists():
        results["rows"] = json.loads(asked.output.read_text())["rows"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        for size in sizes(asked.only, asked.photos, asked.classes):
            row = _row(size, results["rows"], folder, asked.longest)
            print(json.dumps(row), flush=True)
            results["rows"] = _with(results["rows"], row)
            if asked.output:
                asked.output.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
