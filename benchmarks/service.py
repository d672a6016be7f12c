"""Loads `fashion serve`, beside decoding and engine alone in one process.

The callers are another process; the processor's time that they take is taken off, as on two cores
it is the service's. Rounds of both ways alternate.

    python benchmarks/service.py                      resnet50 at 224 px, random weights
    python benchmarks/service.py --bundle DIR         a bundle of your own
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from labelling import draw_photos, write_checkpoint
from machine import machine
from PIL import Image

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.onnx_model import OnnxModel
from fashion.cores import usable_cores
from fashion.labelling.labeller import Labeller
from fashion.labelling.photos import find_photos

HERE = Path(__file__).parent
CALLERS = 32
DEADLINE_S = 30
SLOW = 1000
FAST = 50
FILES = 4096


@dataclass
class Server:
    """A service that runs, and the memory that it takes."""

    port: int
    process: psutil.Process
    first: int = 0
    highest: int = 0

    def __post_init__(self) -> None:
        """Keep what it has at the start."""
        self.first = self.memory()

    def memory(self) -> int:
        """Return the bytes that it has now."""
        return self.process.memory_info().rss

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep the most that it has in the meantime."""
        self.highest, stop = self.memory(), threading.Event()

        def watch() -> None:
            while not stop.wait(0.05):
                self.highest = max(self.highest, self.memory())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@contextmanager
def serving(bundle: Path, *words: str) -> Iterator[Server]:
    """Have the service run."""
    command = [sys.executable, "-m", "fashion", "serve", f"bundle={bundle}", "port=0", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        found = re.search(r":(\d+) ", process.stdout.readline())
        assert found, "it doesn't serve"
        try:
            yield Server(int(found[1]), psutil.Process(process.pid))
        finally:
            process.kill()


def call(case: str, server: Server, photos: Path, *numbers: float) -> dict[str, Any]:
    """Run a case of `service_client` in a process of its own."""
    words = [case, str(server.port), str(photos), *map(str, numbers)]
    done = subprocess.run(
        [sys.executable, str(HERE / "service_client.py"), *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def net_s(told: dict[str, Any]) -> float:
    """Return the seconds of a case without those that its callers took of the processor."""
    seconds: float = told["wall_s"] - told["processor_s"] / usable_cores()
    return seconds


def alone(labeller: Labeller, photos: Path, number: int) -> float:
    """Return the photos a second that decoding and engine do in this process."""
    found = find_photos([photos])
    several = [found[place % len(found)] for place in range(number)]
    began = time.perf_counter()
    assert sum(1 for _ in labeller.label(several, 64)) == number
    return number / (time.perf_counter() - began)


def saturation(
    server: Server, labeller: Labeller, photos: Path, asked: argparse.Namespace
) -> dict[str, Any]:
    """Compare the rates at saturation, round by round."""
    rates: dict[str, list[float]] = {"alone": [], "served": []}
    for _ in range(asked.rounds):
        rates["alone"].append(alone(labeller, photos, asked.number))
        told = call("saturate", server, photos, CALLERS, asked.number)
        assert told["statuses"] == {"200": asked.number}, told["statuses"]
        rates["served"].append(asked.number / net_s(told))
    ratios = [a / b for a, b in zip(rates["served"], rates["alone"], strict=True)]
    return {
        **{name: round(statistics.median(each), 2) for name, each in rates.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(each, 3) for each in ratios],
    }


def overloaded(server: Server, photos: Path, capacity: float, seconds: float) -> dict[str, Any]:
    """Send five times what it can do."""
    with server.watched():
        told = call("overload", server, photos, round(5 * capacity, 3), seconds)
    answered = told["statuses"].get("200", 0)
    return {
        "statuses": told["statuses"],
        "failures": told["failures"],
        "served_share_of_capacity": round(answered / net_s(told) / capacity, 3),
        "longest_s": round(told["longest_s"], 2),
        "late": sum(each > DEADLINE_S for each in told["seconds_of_200"]),
        "more_memory_mb": round((server.highest - server.first) / 1e6),
        "callers_processor_s": round(told["processor_s"], 1),
    }


def slow(server: Server, photos: Path) -> dict[str, Any]:
    """Compare one caller alone with one beside slow connections."""
    found = {}
    for name, number in (("alone", 0), ("beside_slow", SLOW)):
        told = call("beside_slow", server, photos, number, FAST)
        assert told["statuses"] == {"200": FAST}, told["statuses"]
        times = told["seconds_of_200"]
        found[name] = {
            "median_ms": round(statistics.median(times) * 1000),
            "highest_ms": round(times[-1] * 1000),
        }
    return found


def draw_mixed(folder: Path) -> None:
    """Write files of many sizes and kinds, some of which are none."""
    random = np.random.default_rng(1)
    for place, side in enumerate((60, 90, 120, 200, 300, 480, 700, 1000, 1500)):
        pixels = random.integers(0, 256, (9, 6, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((side * 2 // 3, side))
        for kind in ("JPEG", "PNG", "WEBP"):
            image.save(folder / f"{place}.{kind.lower()}", kind)
    for place in range(9):
        (folder / f"bad{place}.jpg").write_bytes(random.bytes(10 ** (1 + place // 2)))


def mixed(server: Server, folder: Path, number: int) -> dict[str, Any]:
    """Return what memory it has after some requests of all kinds, and after many."""
    call("saturate", server, folder, CALLERS, max(CALLERS, number // 10))
    before = server.memory()
    told = call("saturate", server, folder, CALLERS, number)
    after = server.memory()
    return {
        "requests": number,
        "statuses": told["statuses"],
        "before_mb": round(before / 1e6, 1),
        "after_mb": round(after / 1e6, 1),
        "growth": round(after / before - 1, 4),
    }


def measure(bundle: Path, folder: Path, asked: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Yield each case with its figures."""
    photos, kinds = folder / "photos", folder / "mixed"
    for each in (photos, kinds):
        each.mkdir()
    draw_photos(photos, 64)
    draw_mixed(kinds)
    labeller = Labeller([OnnxModel(BundleFiles(bundle))])
    with serving(bundle) as server:
        found = saturation(server, labeller, photos, asked)
        yield "saturation", found
        yield "overload", overloaded(server, photos, found["served"], asked.seconds)
        yield "slow", slow(server, photos)
    with serving(bundle) as server:
        yield "mixed", mixed(server, kinds, asked.mixed)


def raise_files() -> None:
    """Let this process and its children have as many files as the cases open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def table(results: dict[str, Any]) -> str:
    """Return the figures as a table of Markdown."""
    saturated, over = results["saturation"], results["overload"]
    slow_, kinds = results["slow"], results["mixed"]
    rows = [
        ("photos a second, 32 callers", f"{saturated['served']:.1f}",
         f"{saturated['ratio']:.0%} of decoding and engine alone"),
        ("five times as many", f"{over['served_share_of_capacity']:.0%} of that",
         f"{over['late']} late replies, the longest after {over['longest_s']:.1f} s, "
         f"{over['more_memory_mb']} MB more memory"),
        ("one caller beside 1,000 slow ones", f"{slow_['beside_slow']['median_ms']} ms",
         f"{slow_['alone']['median_ms']} ms without them"),
        (f"memory after {kinds['requests']:,} mixed requests", f"{kinds['after_mb']:.0f} MB",
         f"{kinds['before_mb']:.0f} MB before"),
    ]  # fmt: skip
    lines = ["| load | | |", "|---|---:|---|"]
    return "\n".join([*lines, *(f"| {a} | {b} | {c} |" for a, b, c in rows)]) + "\n"


def main(words: Sequence[str] | None = None) -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", type=Path, help="one of your own, instead of random weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--number", type=int, default=320, help="photos of a round")
    parser.add_argument("--seconds", type=float, default=30.0, help="of overload")
    parser.add_argument("--mixed", type=int, default=10_000, help="requests of the last case")
    parser.add_argument("--output", type=Path, help="a JSON file; none: print alone")
    asked = parser.parse_args(words)
    raise_files()
    results: dict[str, Any] = {"machine": machine(), "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle = asked.bundle or folder / "bundle"
        if asked.bundle is None:
            from fashion.export.export import export

            write_checkpoint("resnet50", 224, folder / "best.ckpt")
            export([folder / "best.ckpt"], bundle)
        for name, found in measure(bundle, folder, asked):
            results[name] = found
            print(json.dumps({name: found}), flush=True)
    if asked.output:
        asked.output.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
