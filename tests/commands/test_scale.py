"""Many photos and classes, from the table to the report, within a laptop's memory."""

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import train

REPO = Path(train.__file__).parent
PHOTOS, CLASSES, MOST = 20_000, 300, 3e9


@pytest.fixture
def scale():
    return importlib.import_module("scale")


@pytest.fixture
def stores(scale):
    return importlib.import_module("scale_paths.stores")


@pytest.mark.slow
def test_three_hundred_classes_are_trained_and_reported_on_within_3_gb(scale, stores, tmp_path):
    stores.prepare_store(tmp_path, PHOTOS, CLASSES)
    words = [
        f"data.root={tmp_path / 'catalogue.zip'}", f"data.cache_dir={tmp_path / 'cache'}",
        "data.min_images=10", "data.batch_size=256", "data.num_workers=1",
        "model=timm", "model.backbone=test_resnet", "model.pretrained=false",
        "model.input_size=32", "model.unfreeze=all", "trainer.accelerator=cpu",
        "trainer.max_epochs=1", "robustness_photos=3", f"hydra.run.dir={tmp_path / 'run'}",
    ]  # fmt: skip
    peak = 0
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "train.py", *words]
        process = subprocess.Popen(command, cwd=REPO, stdout=log, stderr=log)
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, scale.resident(tree))
            time.sleep(0.1)
    assert process.returncode == 0, (tmp_path / "log").read_text()[-5000:]
    summary = json.loads((tmp_path / "run" / "report" / "summary.json").read_text())
    assert summary["data"]["classes"] == CLASSES
    assert summary["test"]["support"] == PHOTOS // 10
    page = (tmp_path / "run" / "report" / "index.html").stat().st_size
    assert page < 5e6
    assert 0 < peak < MOST


@pytest.mark.slow
def test_a_report_on_a_thousand_classes_takes_3_gb_at_most(scale, tmp_path):
    measured = scale.measure(scale.Size("report", PHOTOS, 1_000), tmp_path)
    (report,) = tmp_path.glob("*/report")
    assert (report / "summary.json").is_file()
    assert (report / "index.html").stat().st_size < 5e6
    assert 0 < measured.peak_mb * 1e6 < MOST
