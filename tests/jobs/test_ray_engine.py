"""`engine=ray`: the same shards by actors; the same CSV, whoever is killed."""

import os
import signal

import psutil
import pytest
from PIL import Image

from fashion.jobs import crew

pytest.importorskip("ray", reason="engine=ray needs Ray, which isn't installed here")

pytestmark = pytest.mark.slow


def test_the_csv_is_that_of_the_local_engine_and_a_killing_photo_is_told(
    label, cells, photos, predict, tmp_path
):
    job = label(f"input={photos}", "engine=ray", "workers=1")
    assert (job / "predictions.csv").read_bytes() == predict(str(photos))
    assert cells(job)[7]["error"] == "not a photo of a known format"


@pytest.mark.parametrize(
    ("address", "said"),
    [("127.0.0.1:1", "there is no cluster"), ("auto", "must be HOST:PORT")],
)
def test_a_cluster_that_isn_t_there_is_told(address, said, label, photos):
    with pytest.raises(SystemExit, match=f"ray_address='{address}'.* {said}"):
        label(f"input={photos}", "engine=ray", f"ray_address={address}")


def test_an_address_is_for_ray_alone(label, photos):
    with pytest.raises(SystemExit, match="is for engine=ray"):
        label(f"input={photos}", "ray_address=127.0.0.1:6379")


def actors_of(driver):
    """The processes of actors below a driver."""
    found = []
    for process in driver.children(recursive=True):
        try:
            if "Foreman" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_killed_drivers_actors_and_workers_lose_and_double_nothing(
    bundle, label, start, plant, wait_for, results_of, tmp_path
):
    for k in range(4):
        Image.new("RGB", (3000, 3000), (60 * k, 9, 9)).save(tmp_path / f"{k}.png")
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{k % 4}.png\n" for k in range(160)))
    job = tmp_path / "killed"
    own = [f"bundle={bundle}", f"output={job}", "shard=16", "batch_size=8"]
    words = [*own, f"input={listed}", "engine=ray", "workers=1"]
    driver, process = start(words, crew.COMMAND)
    wait_for(lambda: results_of(job) > 0)
    os.kill(wait_for(lambda: actors_of(driver))[0].pid, signal.SIGKILL)
    seen = results_of(job)
    wait_for(lambda: results_of(job) > seen or process.poll() is not None)
    process.kill()
    process.wait()
    driver, process = start(words, crew.COMMAND)
    wait_for(lambda: results_of(job) > seen + 1 or process.poll() is not None)
    for actor in actors_of(driver):
        for worker in actor.children():
            worker.kill()
    assert process.wait(600) == 0
    unbroken = label(f"input={listed}")
    assert (job / "predictions.csv").read_bytes() == (unbroken / "predictions.csv").read_bytes()
