"""Times how long commands take to start, each in fresh processes, beside `import torch, timm`.

The first label is that of one photo by a resnet50 at 224 px, whose checkpoint of random weights is
made here. The commands take turns, so that a busy minute of the machine slows all of them. This
process itself imports little: Linux counts what it holds among the memory of those that it starts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from fashion.commands.grammar import COMMANDS

REPO = Path(__file__).parents[1]
PEER = "import torch, timm"
BACKBONE, INPUT_SIZE, NUM_CLASSES = "resnet50.tv_in1k", 224, 54


class Start(NamedTuple):
    """A process from its start to its end.

    Attributes:
        seconds: On the clock.
        cpu_seconds: Of all its threads.
        peak_mib: The most memory that it held.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float


def make_files(folder: Path) -> None:
    """Write `best.ckpt` and `photo.jpg`."""
    import numpy as np
    from PIL import Image

    from fashion.models import checkpoints
    from fashion.models.network import PhotoClassifier

    settings = {
        "class_names": [f"class {k}" for k in range(NUM_CLASSES)],
        **{"backbone": BACKBONE, "input_size": INPUT_SIZE, "unfreeze": [], "dropout": 0.3},
    }
    network = PhotoClassifier(**settings, pretrained=False, weights=None)
    checkpoint = {
        "hyper_parameters": settings,
        "state_dict": network.state_dict(),
        "preprocessing": {"input_size": INPUT_SIZE, "interpolation": "bilinear", "fit": "squash"},
        "run": {},
    }
    with (folder / "best.ckpt").open("wb") as file:
        checkpoints.write(checkpoint, file)
    pixels = np.random.default_rng(0).integers(0, 256, (1600, 1200, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.jpg")


def commands(folder: Path) -> dict[str, tuple[float, list[str]]]:
    """Return the words of each command with the most it may take of the peer's time."""
    fashion = [sys.executable, "-m", "fashion"]
    files = [f"ckpt_path={folder / 'best.ckpt'}", str(folder / "photo.jpg")]
    label = [*fashion, "predict", *files, f"output={folder / 'labels.csv'}"]
    train = [sys.executable, str(REPO / "train.py"), "--help"]
    return {
        f'python -c "{PEER}"': (1.0, [sys.executable, "-c", PEER]),
        "fashion predict, first label": (1.3, label),
        "fashion --help": (0.25, [*fashion, "--help"]),
        **{f"fashion {word} --help": (0.25, [*fashion, word, "--help"]) for word in COMMANDS},
        "python train.py --help": (1.0, train),
    }


def start(words: list[str], folder: Path) -> Start:
    """Run a command to its end."""
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = time.perf_counter()
    process = subprocess.Popen(words, cwd=folder, env=environment, **quiet)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(words)} ended with status {process.returncode}")
    # Linux counts in KiB, macOS in bytes.
    peak = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return Start(seconds, used.ru_utime + used.ru_stime, peak)


def figures(starts: list[Start], peers: list[Start], limit: float) -> dict[str, float]:
    """Return the medians of a command's starts, and of what each is to the peer's of its turn."""
    pairs = list(zip(starts, peers, strict=True))
    return {
        "seconds": round(statistics.median(one.seconds for one in starts), 2),
        "ratio": round(statistics.median(one.seconds / peer.seconds for one, peer in pairs), 2),
        "cpu_ratio": round(
            statistics.median(one.cpu_seconds / peer.cpu_seconds for one, peer in pairs), 2
        ),
        "limit": limit,
        "peak_mib": round(statistics.median(one.peak_mib for one in starts)),
    }


def row(name: str, measured: dict[str, float]) -> str:
    """Return one line of the table."""
    return (
        f"{name:32} {measured['seconds']:>7.2f} s {measured['ratio']:>7.2f} "
        f"{measured['cpu_ratio']:>7.2f} {measured['limit']:>7.2f} {measured['peak_mib']:>7} MiB"
    )


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5, help="timed; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    if options.turns < 1:
        parser.error("--turns must be 1 at least")
    return options


def main() -> None:
    """Measure, print and, with `--json`, write the figures."""
    options = parse()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        maker = get_context("spawn").Process(target=make_files, args=(folder,))
        maker.start()
        maker.join()
        asked = commands(folder)
        # The first turn brings files into memory and isn't counted.
        turns = [
            {key: start(words, folder) for key, (_, words) in asked.items()}
            for _ in range(1 + options.turns)
        ][1:]
    peer = next(iter(asked))
    peers = [turn[peer] for turn in turns]
    measured = {
        key: figures([turn[key] for turn in turns], peers, limit)
        for key, (limit, _) in asked.items()
    }
    sys.stdout.write(
        f"{'':32} {'median':>9} {'ratio':>7} {'of CPU':>7} {'at most':>7} {'memory':>11}\n"
    )
    sys.stdout.writelines(row(key, each) + "\n" for key, each in measured.items())
    if options.json:
        from machine import machine

        facts = {"machine": machine(), "turns": options.turns, "measured": measured}
        options.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
