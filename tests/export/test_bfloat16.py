"""A network in bfloat16 is allowed where it is as good and faster, and never taken unasked."""

import numpy as np
import pytest
import torch

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.onnx_model import OnnxModel
from fashion.commands.main import run
from fashion.export import judged
from fashion.export.export import export
from fashion.labelling.bfloat16 import BATCH, Bfloat16Network
from fashion.labelling.bundle_models import open_bundle
from fashion.labelling.hub_models import read_network


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
    """What the compiler makes of the frozen side is for tests of it to say."""
    monkeypatch.setattr("fashion.labelling.bfloat16.can_compile", lambda device, dtype: False)


@pytest.fixture(scope="module")
def squares(bundle):
    side = BundleFiles(bundle).manifest.preprocessing["input_size"]
    return np.random.default_rng(0).integers(0, 256, (BATCH + 3, side, side, 3), np.uint8)


def test_it_computes_all_but_the_head_in_bfloat16(bundle, squares):
    network, mean, std = read_network(BundleFiles(bundle))
    with torch.inference_mode():
        photos = torch.from_numpy(squares).permute(0, 3, 1, 2) / 255
        wanted = network.eval()((photos - mean) / std).softmax(dim=1).numpy()
    half = Bfloat16Network(network, mean, std, squares.shape[1])
    found = half.probabilities(squares)
    assert found.shape == wanted.shape
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-6)
    difference = np.abs(found - wanted).max()
    assert 1e-6 < difference < 0.05
    # Head and softmax are in float32: the probabilities are not those that 8 bits can tell.
    assert not np.array_equal(found, torch.tensor(found).bfloat16().float().numpy())
    assert np.array_equal(half.probabilities(squares[-3:]), found[-3:])


def test_a_bundle_that_was_tried_labels_in_bfloat16(
    run_dir, tiny_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(judged, "LEAST_SPEED", 0)
    monkeypatch.setattr(judged, "MOST_LOST", 1)
    path = tmp_path / "shop"
    ckpt_path = f"ckpt_path={run_dir / 'checkpoints' / 'best.ckpt'}"
    run("export", [ckpt_path, f"output={path}", "bfloat16=true"])
    assert "bfloat16: " in capsys.readouterr().out
    assert "## In bfloat16" in (path / "README.md").read_text()
    files = BundleFiles(path)
    facts = files.manifest.facts["parity"]["bfloat16"]
    assert files.manifest.bfloat16.photos == facts["photos"] == files.manifest.calibration.photos
    model = open_bundle(files, dtype="bfloat16")
    assert model.threshold(0.5) == files.manifest.bfloat16.threshold(0.5)
    assert isinstance(open_bundle(files), OnnxModel)
    output = tmp_path / "labels.csv"
    run(
        "predict",
        [f"bundle={path}", "dtype=bfloat16", str(tiny_root / "images"), f"output={output}"],
    )
    assert len(output.read_text().splitlines()) > 100


def test_its_temperature_comes_on_top_of_the_head_s(run_dir, squares, tmp_path, monkeypatch):
    monkeypatch.setattr(judged, "LEAST_SPEED", 0)
    monkeypatch.setattr(judged, "MOST_LOST", 1)
    path = tmp_path / "shop"
    export([run_dir / "checkpoints" / "best.ckpt"], path, bfloat16=True)
    files = BundleFiles(path)
    ratio = files.manifest.bfloat16.temperature / files.manifest.calibration.temperature
    plain = Bfloat16Network(*read_network(files), squares.shape[1]).probabilities(squares)
    own = open_bundle(files, dtype="bfloat16").probabilities(squares)
    logits = np.log(plain.astype(np.float64)) / ratio
    wanted = np.exp(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
    assert own == pytest.approx(wanted, abs=1e-5)


def test_a_network_that_is_no_faster_leaves_nothing(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(judged, "LEAST_SPEED", 1e6)
    with pytest.raises(ValueError, match=r"bfloat16=true: on \d+ validation .* Leave bfloat16 out"):
        export([run_dir / "checkpoints" / "best.ckpt"], tmp_path / "shop", bfloat16=True)
    assert list(tmp_path.iterdir()) == []


def test_several_networks_are_refused_before_anything_is_written(run_dir, tmp_path):
    best = run_dir / "checkpoints" / "best.ckpt"
    with pytest.raises(ValueError, match="bfloat16=true is for one network; pass one ckpt_path"):
        export([best, best], tmp_path / "shop", bfloat16=True)
