"""A network in eight bits is kept where it is as good and faster, and refused in a sentence."""

import json
import time

import numpy as np
import onnx
import pandas as pd
import pytest

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.graph_check import labels_in
from fashion.bundles.manifest import GRAPH, INT8_GRAPH
from fashion.bundles.onnx_model import OnnxGraph, OnnxModel
from fashion.bundles.verify import verify
from fashion.commands.main import run
from fashion.export import judged
from fashion.export.export import export
from fashion.export.facts import Source
from fashion.export.judged import judge
from fashion.export.quantised import quantise, with_temperature
from fashion.export.run_photos import RunPhotos
from fashion.metrics.scaling import scale
from fashion.models import checkpoints


@pytest.fixture(scope="module")
def source(run_dir):
    path = run_dir / "checkpoints" / "best.ckpt"
    return Source(path, checkpoints.read(path))


@pytest.fixture(scope="module")
def photos(source):
    return RunPhotos(source)


@pytest.fixture(scope="module")
def graph(bundle):
    return (bundle / GRAPH).read_bytes()


@pytest.fixture(scope="module")
def small(graph, photos):
    """The graph in eight bits."""
    return quantise(graph, photos.sample("train", 32))


def opened(content, photos):
    side = photos.sample("val", 1).shape[1]
    return OnnxGraph(content, "the graph", side, len(labels_in(content)))


def test_the_sample_has_each_class_as_often_as_the_split_has(photos, run_dir):
    splits = pd.read_csv(run_dir / "splits.csv", dtype=str)
    train = splits[splits["split"] == "train"]
    names, classes = photos.split("train")
    assert len(names) == len(train)
    assert sorted(np.bincount(classes)) == sorted(train["label"].value_counts())
    some = photos.sample("train", 30)
    assert some.shape[0] == 30
    assert some.dtype == np.uint8
    assert (photos.sample("train", 30) == some).all()
    assert photos.sample("train", 10_000).shape[0] == len(names)


def test_batches_have_the_whole_split_in_its_order(photos):
    parts = list(photos.batches("val", "Validating"))
    names, classes = photos.split("val")
    assert sum(len(squares) for squares, _ in parts) == len(names)
    assert np.concatenate([part for _, part in parts]).tolist() == classes.tolist()


def test_the_quantised_graph_is_one_of_a_bundle(graph, small, photos):
    """Default operators, the same classes, weights in bytes, probabilities nearby."""
    model = onnx.load_from_string(small)
    assert {node.op_type for node in model.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    assert labels_in(small) == labels_in(graph)
    assert len(small) < len(graph)
    squares = photos.sample("val", 20)
    before, after = (opened(each, photos).probabilities(squares) for each in (graph, small))
    assert np.abs(before - after).max() < 0.2
    assert (before.argmax(axis=1) == after.argmax(axis=1)).mean() > 0.8
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    fed = {output: node.op_type for node in model.graph.node for output in node.output}
    assert {fed.get(name) for node in convolutions for name in node.input[:2]} == {
        "DequantizeLinear"
    }


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_a_further_temperature_divides_the_logits(temperature, graph, photos):
    squares = photos.sample("val", 8)
    wanted = scale(opened(graph, photos).probabilities(squares), temperature)
    found = opened(with_temperature(graph, temperature), photos).probabilities(squares)
    assert found == pytest.approx(wanted, abs=1e-6)


class Planted:
    """Labels each photo by its first pixel; one in so many wrong, after a while."""

    def __init__(self, wrong_every=0, seconds=0.0):
        self.wrong_every, self.seconds, self.count = wrong_every, seconds, 0

    def probabilities(self, squares):
        time.sleep(self.seconds)
        classes = squares[:, 0, 0, 0].astype(int)
        for place in range(len(classes)):
            self.count += 1
            if self.wrong_every and self.count % self.wrong_every == 0:
                classes[place] = 1 - classes[place]
        shares = np.full((len(classes), 2), 0.1, np.float32)
        shares[np.arange(len(classes)), classes] = 0.9
        return shares


def drawn(batches=10, size=100):
    generator = np.random.default_rng(0)
    for _ in range(batches):
        classes = generator.integers(0, 2, size)
        yield np.repeat(classes.astype(np.uint8), 12).reshape(size, 2, 2, 3), classes


@pytest.mark.parametrize(
    ("int8", "faults"),
    [
        (Planted(), []),
        (Planted(wrong_every=400), []),  # 2 of 1,000
        (Planted(wrong_every=100), ["loses 1.00 points of accuracy, more than 0.3"]),
        (Planted(seconds=0.02), ["as fast on this machine, less than 1.3"]),
        (Planted(50, 0.02), ["loses 2.00 points", "less than 1.3"]),
    ],
)
def test_what_is_worse_or_no_faster_is_told(int8, faults):
    verdict = judge("int8", Planted(seconds=0.01), int8, drawn())
    assert len(verdict.faults) == len(faults)
    for found, wanted in zip(verdict.faults, faults, strict=True):
        assert wanted in found
    assert verdict.facts["photos"] == 1000
    assert verdict.facts["accuracy"]["float32"] == 1


def test_a_small_loss_that_is_no_chance_is_told():
    """One of 400 photos is 0.25 points; of 8,000 that are 20 in a row."""
    verdict = judge("int8", Planted(seconds=0.01), Planted(wrong_every=400), drawn(batches=80))
    assert "less often right, which is no chance" in verdict.faults[0]
    assert len(verdict.faults) == 1


def test_a_bundle_with_int8_labels_by_either(run_dir, tiny_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(judged, "LEAST_SPEED", 0)
    monkeypatch.setattr(judged, "MOST_LOST", 1)
    path = tmp_path / "shop"
    ckpt_path = f"ckpt_path={run_dir / 'checkpoints' / 'best.ckpt'}"
    run("export", [ckpt_path, f"output={path}", "int8=true"])
    assert "times as fast here, accuracy" in capsys.readouterr().out
    files = BundleFiles(path)
    manifest = files.manifest
    facts = manifest.facts["parity"]["int8"]
    assert manifest.int8.photos == facts["photos"] == manifest.calibration.photos
    assert manifest.int8.temperature > 0
    assert "eight bits" in (path / "README.md").read_text()
    verdict = verify(files, int8=True)
    assert verdict.faults == []
    model = OnnxModel(files, int8=True)
    assert model.threshold(0.5) == manifest.int8.threshold(0.5)
    output = tmp_path / "labels.csv"
    run("predict", [f"bundle={path}", "int8=true", str(tiny_root / "images"), f"output={output}"])
    assert len(output.read_text().splitlines()) > 100
    loaded = json.loads((path / "bundle.json").read_text())
    assert INT8_GRAPH in loaded["files"]


def test_a_refused_network_leaves_nothing(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(judged, "LEAST_SPEED", 1e6)
    with pytest.raises(ValueError, match=r"int8=true: on \d+ validation photos .* Leave int8 out"):
        export([run_dir / "checkpoints" / "best.ckpt"], tmp_path / "shop", int8=True)
    assert list(tmp_path.iterdir()) == []


def test_several_networks_are_refused_before_anything_is_written(run_dir, tmp_path):
    best = run_dir / "checkpoints" / "best.ckpt"
    with pytest.raises(ValueError, match="int8=true is for one network; pass one ckpt_path"):
        export([best, best], tmp_path / "shop", int8=True)


@pytest.mark.parametrize("gone", ["catalogue", "splits"])
def test_without_the_photos_there_is_no_int8(gone, source, tmp_path):
    checkpoint = dict(source.checkpoint)
    if gone == "catalogue":
        config = json.loads(json.dumps(checkpoint["run"]["config"]))
        config["data"]["root"] = "/nowhere"
        checkpoint["run"] = {**checkpoint["run"], "config": config}
        path, message = source.path, "but its catalogue can't be read: .*nowhere"
    else:
        path, message = tmp_path / "checkpoints" / "best.ckpt", r"but its run's splits\.csv isn't"
    with pytest.raises(ValueError, match=f"int8=true needs the photos that .*{message}"):
        RunPhotos(Source(path, checkpoint))
