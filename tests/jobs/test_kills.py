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
MILLION, SHARD = 1_000_000, 1024


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


def fill(job, shards):
    """Write the results of shards, as if the ten photos had been labelled again and again."""
    labelled = pq.read_table(job / "results" / "rows-000000000000.parquet").slice(0, 10)
    places = labelled.column_names.index("row")
    for first in shards:
        rows = range(first, first + SHARD)
        table = labelled.take([row % 10 for row in rows])
        table = table.set_column(places, "row", pa.array(rows, pa.int64()))
        pq.write_table(table, job / "results" / f"rows-{first:012}.parquet", compression="zstd")


@pytest.mark.long
def test_a_job_of_a_million_goes_on_within_seconds_in_little_memory(
    bundle, draw, plant, start, wait_for, results_of, tmp_path
):
    draw(tmp_path / "photos", 10)
    job = tmp_path / "job"
    table = tmp_path / "million.parquet"
    names = [f"photos/{k % 10:04}.png" for k in range(MILLION)]
    pq.write_table(pa.table({"file": names}), table)
    words = [f"bundle={bundle}", f"output={job}", f"input={table}"]
    began = time.monotonic()
    driver, process = start(words, plant())
    wait_for(lambda: results_of(job) > 2)
    print(f"begun within {time.monotonic() - began:.1f} s")
    process.kill()
    process.wait()
    fill(job, range(20 * SHARD, MILLION - SHARD, SHARD))
    before, began = results_of(job), time.monotonic()
    driver, process = start(words, plant())
    wait_for(lambda: results_of(job) > before)
    resumed = time.monotonic() - began
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, driver.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.1)
    print(f"went on within {resumed:.1f} s, at most {peak / 1e6:.0f} MB")
    assert process.wait() == 0
    assert resumed < 30
    assert peak < 2 * 10**9
    with (job / "predictions.csv").open("rb") as file:
        assert sum(1 for _ in file) == MILLION + 1


def test_interrupted_it_says_how_to_go_on(bundle, photos, plant, tmp_path, monkeypatch):
    from fashion.jobs import label_job

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(label_job, "label_locally", interrupted)
    words = [f"bundle={bundle}", f"output={tmp_path / 'job'}", f"input={photos}"]
    with pytest.raises(SystemExit, match=r"Stopped. .*job keeps what is labelled; type the same"):
        run("label", words)
