"""kill -9 of who shares out and of who labels, at moments that nobody chose."""

import os
import random
import signal
import time
from functools import partial

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion.commands.main import run

PATIENCE_S = 240  # of a test on a busy machine; nothing is timed


@pytest.fixture
def killed(start, wait_for, results_of):
    """Returns killed(job, words, command, victims, chance): each is killed once a shard is done."""

    def has_grown(job, seen, process):
        return results_of(job) > seen or process.poll() is not None

    def killed(job, words, command, victims, chance):
        driver, process = start(words, command)
        for victim in victims:
            wait_for(partial(has_grown, job, results_of(job), process))
            time.sleep(chance.random() * 0.2)
            if process.poll() is not None:
                break
            workers = driver.children()
            if victim == "driver" or not workers:
                os.kill(driver.pid, signal.SIGKILL)
                process.wait()
                wait_for(lambda workers=workers: not any(each.is_running() for each in workers))
                driver, process = start(words, command)
            else:
                os.kill(workers[0].pid, signal.SIGKILL)
        assert process.wait(PATIENCE_S * 4) == 0

    return killed


def test_a_job_that_is_killed_loses_and_doubles_nothing(
    bundle, draw, plant, predict, killed, results_of, tmp_path, monkeypatch
):
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("TMPDIR", str(shared))
    photos, job = draw(tmp_path / "photos", 160), tmp_path / "job"
    words = [f"bundle={bundle}", f"output={job}", f"input={photos}", "shard=16", "batch_size=8"]
    command = plant("time.sleep(0.02)")
    killed(job, words, command, ["driver", "worker", "driver"], random.Random(1))
    assert (job / "predictions.csv").read_bytes() == predict(str(photos))
    assert results_of(job) == 10
    assert [*shared.iterdir()] == []  # nor does a killed one leave anything to stay


@pytest.mark.long
def test_thousands_of_photos_and_ten_kills(bundle, draw, plant, predict, killed, tmp_path):
    photos, job = draw(tmp_path / "photos", 5_000), tmp_path / "job"
    words = [f"bundle={bundle}", f"output={job}", f"input={photos}", "shard=64", "batch_size=8"]
    chance = random.Random(2)
    victims = chance.choices(["driver", "worker"], k=10)
    killed(job, words, plant("time.sleep(0.002)"), victims, chance)
    assert (job / "predictions.csv").read_bytes() == predict(str(photos))


@pytest.mark.long
def test_a_job_of_a_million_goes_on_within_seconds_in_little_memory(
    bundle, draw, plant, start, wait_for, results_of, tmp_path
):
    draw(tmp_path / "photos", 10)
    job = tmp_path / "job"
    table = tmp_path / "million.parquet"
    names = [f"photos/{k % 10:04}.png" for k in range(1_000_000)]
    pq.write_table(pa.table({"file": names}), table)
    words = [f"bundle={bundle}", f"output={job}", f"input={table}"]
    driver, process = start(words, plant())
    wait_for(lambda: results_of(job) > 20)
    process.kill()
    process.wait()
    before, began = results_of(job), time.monotonic()
    driver, process = start(words, plant())
    wait_for(lambda: results_of(job) > before)
    assert time.monotonic() - began < 30
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, driver.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.1)
    assert process.wait() == 0
    assert peak < 2 * 10**9
    with (job / "predictions.csv").open("rb") as file:
        assert sum(1 for _ in file) == 1_000_001


def test_interrupted_it_says_how_to_go_on(bundle, photos, plant, tmp_path, monkeypatch):
    from fashion.jobs import label_job

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(label_job, "label_locally", interrupted)
    words = [f"bundle={bundle}", f"output={tmp_path / 'job'}", f"input={photos}"]
    with pytest.raises(SystemExit, match=r"Stopped. .*job keeps what is labelled; type the same"):
        run("label", words)
