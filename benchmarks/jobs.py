"""Times `fashion predict` and `fashion label`, by its own engine and by Ray, on the same photos.

Each way is a process of its own, timed from its start to its end, in turn, round after round; the
three CSVs have to be equal to the byte. The network has random weights.

    FASHION_DATA=ZIP python benchmarks/jobs.py --output benchmarks/jobs.json
    FASHION_DATA=ZIP python benchmarks/jobs.py --photos 2000 --ways predict local
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from labelling import write_checkpoint
from machine import machine

from fashion.export.export import export

WAYS = {
    "predict": ["predict", "{photos}", "output={output}.csv"],
    "local": ["label", "input={photos}", "output={output}"],
    "ray": ["label", "input={photos}", "output={output}", "engine=ray"],
}


def take_photos(catalogue: Path, folder: Path, number: int) -> int:
    """Unpack the first photos of a zip, and return how many that were."""
    folder.mkdir()
    with zipfile.ZipFile(catalogue) as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith(".jpg"))
        chosen = {name.rpartition("/")[2]: name for name in names}
        for name in sorted(chosen)[:number]:
            (folder / name).write_bytes(archive.read(chosen[name]))
    return min(number, len(chosen))


def timed(way: str, bundle: Path, photos: Path, output: Path, workers: str | None) -> float:
    """Return the seconds that a command takes; its CSV is beside `output` or in it."""
    words = [word.format(photos=photos, output=output) for word in WAYS[way]]
    if workers and way != "predict":
        words.append(f"workers={workers}")
    command = [sys.executable, "-m", "fashion", words[0], f"bundle={bundle}", *words[1:]]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time all ways."""
    write_checkpoint(asked.model, asked.input_size, folder / "best.ckpt")
    export([folder / "best.ckpt"], folder / "bundle")
    photos = folder / "photos"
    number = take_photos(Path(os.environ["FASHION_DATA"]), photos, asked.photos)
    seconds: dict[str, list[float]] = {way: [] for way in asked.ways}
    csvs = set()
    for place in range(asked.rounds):
        for way in asked.ways:
            output = folder / f"{way}-{place}"
            seconds[way].append(timed(way, folder / "bundle", photos, output, asked.workers))
            path = output.with_suffix(".csv") if way == "predict" else output / "predictions.csv"
            csvs.add(path.read_bytes())
    rates = {way: number / statistics.median(times) for way, times in seconds.items()}
    return {
        **{"model": asked.model, "input_size": asked.input_size, "photos": number},
        **{"rounds": asked.rounds, "workers": asked.workers},
        "photos_per_second": {way: round(rate, 1) for way, rate in rates.items()},
        "to_predict": {way: round(rates[way] / rates[asked.ways[0]], 3) for way in asked.ways[1:]},
        "equal_csv": len(csvs) == 1,
        "machine": machine(),
    }


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--input-size", type=int, default=96)
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", help="of fashion label; without it its own choice")
    parser.add_argument("--ways", nargs="+", choices=[*WAYS], default=[*WAYS])
    parser.add_argument("--output", type=Path, help="a JSON file; none: print alone")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        row = measure(asked, Path(temporary))
    text = json.dumps(row, indent=1)
    print(text)
    if asked.output:
        asked.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
