import shutil

import pytest
import torch

from fashion.models import checkpoints
from fashion.reports import speed
from fashion.reports.speed import inference_speed
from fashion.training.run_folder import RunFolder


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The user's cache folder, for this test alone; nothing is measured for long."""
    monkeypatch.setattr(speed, "SECONDS", 0.05)
    monkeypatch.setattr(speed, "default_cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def measured(monkeypatch):
    """The checkpoints that were measured, in a list that grows."""
    paths, measure = [], speed._measure
    monkeypatch.setattr(speed, "_measure", lambda path: paths.append(path) or measure(path))
    return paths


def speed_of(folder):
    return inference_speed(RunFolder(folder))


def change(ckpt_path):
    checkpoint = checkpoints.read(ckpt_path)
    weight = checkpoint["state_dict"]["backbone.fc.bias"]
    checkpoint["state_dict"]["backbone.fc.bias"] = weight + 1
    ckpt_path.unlink()
    torch.save(checkpoint, ckpt_path)


def test_the_speed_is_measured_once_and_found_again_for_a_copy(run_dir, tmp_path, measured):
    folder = tmp_path / "run"
    shutil.copytree(run_dir, folder)
    first = speed_of(run_dir)
    assert first > 0
    assert speed_of(run_dir) == speed_of(folder) == first
    assert len(measured) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"photos_per_second": null}'])
def test_a_damaged_figure_is_measured_again(content, run_dir, cache, measured):
    speed_of(run_dir)
    (kept,) = (cache / "speeds").iterdir()
    kept.write_text(content)
    assert speed_of(run_dir) == speed_of(run_dir) > 0
    assert len(measured) == 2


def test_another_checkpoint_or_device_is_measured_anew(run_dir, tmp_path, measured, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(run_dir, folder)
    speed_of(folder)
    change(folder / "checkpoints" / "best.ckpt")
    speed_of(folder)
    assert len(measured) == 2
    monkeypatch.setattr(speed, "device_name", lambda device: "another device")
    speed_of(folder)
    assert len(measured) == 3


def test_nothing_is_written_into_the_run(run_dir, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run_dir, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert speed_of(folder) > 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_without_room_in_the_cache_it_is_measured_each_time(run_dir, cache, measured):
    cache.write_text("a file where the folder would be")
    assert speed_of(run_dir) > 0
    assert speed_of(run_dir) > 0
    assert len(measured) == 2


def test_a_run_without_a_checkpoint_has_no_speed(tmp_path):
    assert speed_of(tmp_path) is None
