"""Photos to label, and workers with a planted fault."""

import csv
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from PIL import Image

pytest.importorskip("pyarrow", reason="fashion label needs the extra batch")

from fashion.commands.main import run
from fashion.jobs import crew

PATIENCE_S = 240  # of a test on a busy machine; nothing is timed
DRIVER = """
import sys
from fashion.commands.main import run
from fashion.jobs import crew
crew.COMMAND = tuple({command!r})
run("label", {words!r})
"""
STUB = """
import os, sys, time
from fashion.jobs import durable, shard_labelling, worker
real = shard_labelling.decode_measured
def decode(content, **way):
    {on_decode}
    return real(content, **way)
shard_labelling.decode_measured = decode
{at_start}
if __name__ == "__main__":
    worker.main()
"""


@pytest.fixture(scope="session")
def draw():
    """Returns draw(folder, number), which draws photos of one colour each, `0000.png` and so on."""

    def draw(folder, number, first=0):
        folder.mkdir(exist_ok=True)
        for k in range(first, first + number):
            colour = np.random.default_rng(k).integers(0, 256, 3).tolist()
            Image.new("RGB", (20, 30), tuple(colour)).save(folder / f"{k:04}.png")
        return folder

    return draw


@pytest.fixture
def photos(draw, tmp_path):
    """A folder of 40 photos, of which 0007 is none and 0011 is cut off."""
    folder = draw(tmp_path / "photos", 40)
    (folder / "0007.png").write_bytes(b"nothing")
    (folder / "0011.png").write_bytes((folder / "0012.png").read_bytes()[:60])
    return folder


@pytest.fixture
def label(bundle, tmp_path):
    """Returns label(*words, output), which runs `fashion label` with shards of 16 photos."""

    def label(*words, output=tmp_path / "job"):
        run("label", [f"bundle={bundle}", f"output={output}", "shard=16", "batch_size=8", *words])
        return output

    return label


@pytest.fixture
def predict(bundle, tmp_path):
    """Returns predict(*words), the CSV of `fashion predict`."""

    def predict(*words):
        output = tmp_path / "predicted.csv"
        run("predict", [f"bundle={bundle}", f"output={output}", "batch_size=8", *words])
        return output.read_bytes()

    return predict


@pytest.fixture(scope="session")
def cells():
    """Returns cells(job), the rows of its CSV as dictionaries."""

    def cells(job):
        text = (job / "predictions.csv").read_text("utf-8", "surrogateescape")
        return list(csv.DictReader(text.splitlines()))

    return cells


@pytest.fixture
def plant(monkeypatch, tmp_path):
    """Returns plant(on_decode, at_start): workers run these lines; returns what starts one."""

    def plant(on_decode="pass", at_start=""):
        path = tmp_path / "planted.py"
        path.write_text(STUB.format(on_decode=on_decode, at_start=at_start))
        command = (sys.executable, str(path))
        monkeypatch.setattr(crew, "COMMAND", command)
        return command

    return plant


@pytest.fixture
def start(tmp_path):
    """Returns start(words, command), a process of `fashion label` that is gone in the end."""
    started = []

    def start(words, command):
        code = DRIVER.format(command=command, words=words)
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log)
        started.append(process)
        return psutil.Process(process.pid), process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def wait_for():
    """Returns wait_for(condition), which waits until something is so, and returns it."""

    def wait_for(condition):
        end = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert time.monotonic() < end, "nothing has happened for minutes"
            time.sleep(0.01)
        return found

    return wait_for


@pytest.fixture(scope="session")
def results_of():
    """Returns results_of(job), how many shards are labelled."""

    def results_of(job):
        return len([*(job / "results").glob("rows-*.parquet")]) if job.is_dir() else 0

    return results_of
