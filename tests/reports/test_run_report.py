import base64
import io
import json
import logging
import re
import resource
import shutil
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import LayerGradCam
from lightning import Callback
from PIL import Image

from fashion.data.batches import PADDING
from fashion.labelling.checkpoint_models import load_calibration
from fashion.metrics.predictions import Predictions
from fashion.models import checkpoints
from fashion.reports.corruptions import CORRUPTIONS
from fashion.reports.evaluate import evaluate
from fashion.reports.run_report import check_robustness_photos, report_on

CPU = {"accelerator": "cpu", "enable_progress_bar": False}


class CountPhotos(Callback):
    """Counts the photos that are predicted."""

    photos = 0

    def on_predict_batch_end(self, trainer, pl_module, outputs, batch, *_):
        self.photos += int((batch.rows != PADDING).sum())


def report(parts, run_dir, output_dir, **changes):
    trainer, classifier, datamodule = parts
    checkpoint = checkpoints.read(run_dir / "checkpoints" / "best.ckpt")
    settings = {
        "config": checkpoint["run"]["config"],
        "history": pd.DataFrame(checkpoint["run"]["epochs"]),
        "split": "test",
        "output_dir": output_dir,
        "ckpt_path": None,
        "is_loaded": True,
        "robustness_photos": 0,
        **changes,
    }
    return report_on(trainer, classifier, datamodule, **settings)


@pytest.fixture
def mistaken(tiny_root, run_dir, load_parts, tmp_path):
    """A run's parts whose model takes all photos for Jeans, on a catalogue of their own."""
    root = shutil.copytree(tiny_root, tmp_path / "catalogue")
    trainer, classifier, datamodule = load_parts(run_dir, root=str(root))
    with torch.no_grad():
        classifier.backbone.get_classifier().bias.copy_(torch.tensor([1e3, 0, 0]))
    return trainer, classifier, datamodule


def test_beyond_its_split_a_report_costs_as_much_once_more_at_most(run_dir, load_parts, tmp_path):
    counts = {"Jeans": 90, "Shirts": 90, "Watches": 90, "Hats": 19, "Caps": 5}
    rng = np.random.default_rng(0)
    for label, number in counts.items():
        (tmp_path / "noise" / label).mkdir(parents=True)
        for i in range(number):
            photo = Image.fromarray(rng.integers(0, 256, (12, 10, 3), np.uint8))
            photo.save(tmp_path / "noise" / label / f"{i}.png")
    count = CountPhotos()
    root, cache_dir = str(tmp_path / "noise"), str(tmp_path / "cache")
    parts = load_parts(run_dir, count, root=root, cache_dir=cache_dir)
    kept = load_calibration(checkpoints.read(run_dir / "checkpoints" / "best.ckpt"))
    options = {"split": "train", "calibration": kept, "robustness_photos": None}
    summary = report(parts, run_dir, tmp_path, **options)
    num_photos = summary["data"]["train"]
    assert summary["train"]["unknown"]["photos"] == 24
    table = pd.read_csv(tmp_path / "report-train" / "robustness.csv")
    assert len(table) == 1 + len(CORRUPTIONS)
    assert table["support"].unique().tolist() == [(num_photos - 24) // len(CORRUPTIONS)]
    assert 1.9 * num_photos < count.photos <= 2 * num_photos
    count.photos = 0
    data = report(parts, run_dir, tmp_path, robustness_photos=2)["data"]
    assert count.photos == data["val"] + data["test"] + data["test"] // 2 + 2 * len(CORRUPTIONS)


def test_without_memory_for_its_maps_a_report_has_all_the_rest(
    mistaken, run_dir, tmp_path, monkeypatch, caplog
):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    monkeypatch.setattr(LayerGradCam, "attribute", fail)
    with caplog.at_level(logging.DEBUG, logger="fashion"):
        summary = report(mistaken, run_dir, tmp_path)
    reason = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    assert summary["failed_parts"] == {"class-activation maps": reason}
    warning, detail = [record for record in caplog.records if "maps" in record.getMessage()]
    assert warning.levelname == "WARNING"
    assert warning.getMessage() == f"The report lacks the class-activation maps: {reason}"
    assert detail.levelname == "DEBUG"
    assert detail.exc_info[0] is torch.OutOfMemoryError
    assert len(Predictions.load(tmp_path / "predictions.npz").targets) == 12
    assert (tmp_path / "report" / "figures" / "reliability.png").exists()
    mistakes = (tmp_path / "report" / "mistakes.html").read_text()
    assert f"<li>class-activation maps: {reason}</li>" in mistakes
    assert "Watches taken for Jeans: 4 photos" in mistakes
    assert "Where the network looks" not in mistakes


def test_without_its_photos_a_report_shows_the_packed_ones(mistaken, run_dir, tmp_path, caplog):
    for photo in (tmp_path / "catalogue" / "images").iterdir():
        photo.unlink()
    summary = report(mistaken, run_dir, tmp_path)
    reason = summary["failed_parts"].pop("photos of dropped labels")
    assert reason.startswith("none of the 2 photos can be read, such as ")
    assert summary["failed_parts"] == {}
    summary["failed_parts"]["photos of dropped labels"] = reason
    assert summary == json.loads((tmp_path / "report" / "summary.json").read_text())
    assert "unknown" not in summary["test"]
    mistakes = (tmp_path / "report" / "mistakes.html").read_text()
    assert "Where the network looks" in mistakes
    assert "Watches taken for Jeans: 4 photos" in mistakes
    assert "The files of 8 photos could not be read any more" in mistakes
    assert "The files of 8 photos of confused pairs can't be read" in caplog.text
    sheets = mistakes[mistakes.index('id="pairs"') : mistakes.index('id="maps"')]
    shown = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', sheets)
    assert len(shown) == 8
    photo = Image.open(io.BytesIO(base64.b64decode(shown[0])))
    assert photo.size == (48, 48)  # as it was packed


@contextmanager
def files_of_at_most(size):
    """Within it, no file that this process writes may have more bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:  # before the test ends, whose result is written into a file, too
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("room", "predictions"), [(10_000, True), (100, False)])
def test_a_full_disk_ends_in_a_sentence_and_leaves_what_was_whole(
    room, predictions, mistaken, run_dir, tmp_path
):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "summary.json").write_text("before")
    refused = pytest.raises(OSError, match=r"^output_dir='.*' can't take the whole report")
    with refused as caught, files_of_at_most(room):
        report(mistaken, run_dir, tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "predictions.npz").exists() == predictions
    assert (tmp_path / "report" / "summary.json").read_text() == "before"
    assert not list(tmp_path.rglob("*.part"))
    for path in tmp_path.glob("*.npz"):
        Predictions.load(path)


def test_a_run_that_is_only_read_keeps_its_checkpoint(run_dir, tmp_path):
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    checkpoint = checkpoints.read(run_dir / "checkpoints" / "best.ckpt")
    del checkpoint["calibration"]
    torch.save(checkpoint, path)
    before = path.read_bytes()
    evaluate(path, output_dir=tmp_path / "mine", trainer=CPU, robustness_photos=0)
    assert path.read_bytes() == before
    assert list((tmp_path / "run").rglob("*")) == [path.parent, path]
    kept = Predictions.load(tmp_path / "mine" / "predictions.npz")
    expected = Predictions.load(run_dir / "predictions.npz")
    assert kept.temperature == pytest.approx(expected.temperature, rel=1e-3)
    np.testing.assert_allclose(kept.probabilities, expected.probabilities, atol=1e-5)


@pytest.mark.parametrize("number", [-1, 0.5, True, "all"])
def test_what_is_no_number_of_photos_is_refused(number):
    with pytest.raises(ValueError, match=rf"robustness_photos={number!r} must be .*null"):
        check_robustness_photos(number)


@pytest.mark.parametrize("number", [None, 0, 500])
def test_a_number_of_photos_or_none_is_taken(number):
    check_robustness_photos(number)
