import hashlib
import json
import re
import shutil

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file, save_file

from fashion.attributes import Heads
from fashion.bundles.bundle_files import BundleFiles
from fashion.catalogue.images import decode_image
from fashion.export.parity import compare, prove
from fashion.export.parity_photos import ParityPhotos, choose_photos
from fashion.labelling.checkpoint_models import CheckpointModel
from fashion.labelling.photos import Photo
from fashion.models import checkpoints

SURE = np.array([0.1, 0.8, 0.1], np.float32)
TIED = np.array([0.49997, 0.50003, 0.0], np.float32)
AGREEING = (
    ([SURE], [SURE + np.float32(5e-5)], (1, 0, 0)),
    ([TIED], [TIED[[1, 0, 2]]], (0, 1, 0)),  # the two likeliest change places
    (["truncated"], ["another Pillow's words"], (0, 0, 1)),
)
DIFFERING = (
    ([SURE], [SURE + np.float32(2e-4)], r"probability that differs by 2\.0e-04"),
    ([SURE], [SURE[[1, 0, 2]]], "probability that differs by 7"),
    ([SURE], [np.full(3, np.nan, np.float32)], "differs by nan"),
    ([SURE], ["truncated"], "readable for one of them alone"),
    (["truncated"], [SURE], "readable for one of them alone"),
)


@pytest.mark.parametrize(("ours", "theirs", "counts"), AGREEING)
def test_what_agrees_is_counted(ours, theirs, counts):
    found = compare(["a"], ours, theirs, Heads.of("ab"))
    assert (found.same_label, found.near, found.unreadable) == counts
    assert found.faults == []


@pytest.mark.parametrize(("ours", "theirs", "fault"), DIFFERING)
def test_what_differs_is_named(ours, theirs, fault):
    found = compare(["b", "a"], [SURE, *ours], [SURE, *theirs], Heads.of("ab"))
    assert len(found.faults) == 1
    (told,) = found.faults
    assert told.startswith("a ")
    assert re.search(fault, told)


@pytest.fixture(scope="module")
def checkpoint(run_dir):
    return checkpoints.read(run_dir / "checkpoints" / "best.ckpt")


@pytest.fixture(scope="module")
def photos(run_dir, checkpoint):
    """Few, and odd ones of which one can't be read."""
    found = choose_photos(run_dir / "checkpoints" / "best.ckpt", checkpoint)
    return found._replace(chosen=found.chosen[:6], odd=found.odd[-4:])


@pytest.fixture
def copy(bundle, tmp_path):
    """A copy of the bundle, and a function that has `bundle.json` list its files as they are."""
    path = tmp_path / "copy"
    shutil.copytree(bundle, path)

    def relist():
        told = json.loads((path / "bundle.json").read_text(encoding="utf-8"))
        for name in told["files"]:
            content = (path / name).read_bytes()
            facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            told["files"][name] = facts
        (path / "bundle.json").write_text(json.dumps(told), encoding="utf-8")

    return path, relist


def test_a_bundle_agrees_with_its_checkpoint(bundle, checkpoint, photos):
    proof = prove(bundle, [CheckpointModel(checkpoint)], photos, has_hub=True)
    assert (proof.facts["photos"], proof.facts["odd_photos"]) == (6, 4)
    assert (proof.facts["same_label"], proof.facts["unreadable"]) == (9, 1)
    assert 0 < proof.facts["max_difference"] < 1e-5
    assert proof.facts["timm"]["own_decoding"]["same_label"] == 1
    assert proof.selftest[-1] == {"photo": photos.odd[-1].name, "error": "unreadable"}


def test_the_self_test_expects_what_the_checkpoint_says(bundle, checkpoint, photos):
    files, model = BundleFiles(bundle), CheckpointModel(checkpoint)
    expected = json.loads(files.read("selftest/expected.json"))
    assert len(expected) == 29
    for each in expected[:-1]:
        content = files.read(f"selftest/photos/{each['photo']}")
        square = decode_image(content, **files.manifest.preprocessing)
        assert each["pixels_sha256"] == hashlib.sha256(square.tobytes()).hexdigest()
        probabilities = model.probabilities(np.stack([square]))[0]
        np.testing.assert_allclose(each["probabilities"], probabilities, atol=1e-6)


def change(path, wanted, altered):
    """Change the numbers of a graph that a function of their name and value finds."""
    model = onnx.load(path)
    (found,) = [
        each for each in model.graph.initializer if wanted(each.name, numpy_helper.to_array(each))
    ]
    array = altered(numpy_helper.to_array(found).copy())
    found.CopyFrom(numpy_helper.from_array(array, found.name))
    onnx.save(model, path)


def test_a_changed_weight_is_refused(copy, checkpoint, photos):
    path, relist = copy

    def nudged(array):
        array[0, 0] += 1
        return array

    change(path / "onnx" / "model.onnx", lambda name, _: name.endswith("fc.weight"), nudged)
    relist()
    with pytest.raises(ValueError, match=r"No bundle is written, for the graph doesn't label as"):
        prove(path, [CheckpointModel(checkpoint)], photos, has_hub=True)


def test_another_temperature_is_refused(copy, checkpoint, photos):
    path, relist = copy
    temperature = checkpoint["calibration"]["temperature"]
    change(
        path / "onnx" / "model.onnx",
        lambda _, array: array.size == 1 and np.isclose(array, temperature).all(),
        lambda array: (array * 1.01).astype(array.dtype),
    )
    relist()
    with pytest.raises(ValueError, match="the graph doesn't label as ckpt_path does"):
        prove(path, [CheckpointModel(checkpoint)], photos, has_hub=True)


def test_a_swapped_class_is_refused(copy, checkpoint, photos):
    path, relist = copy
    for kind in ("fc.weight", "fc.bias"):
        change(
            path / "onnx" / "model.onnx",
            lambda name, _, kind=kind: name.endswith(kind),
            lambda array: array[[1, 0, 2]],
        )
    relist()
    with pytest.raises(ValueError, match="the graph doesn't label as ckpt_path does"):
        prove(path, [CheckpointModel(checkpoint)], photos, has_hub=True)


def test_another_way_of_decoding_is_refused(copy, checkpoint, photos):
    path, _ = copy
    told = json.loads((path / "bundle.json").read_text(encoding="utf-8"))
    told["preprocessing"]["fit"] = "pad"  # white all around, which the checkpoint never saw
    (path / "bundle.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ValueError, match="the graph doesn't label as ckpt_path does"):
        prove(path, [CheckpointModel(checkpoint)], photos, has_hub=True)


def test_another_network_in_timm_s_layout_is_refused(copy, checkpoint, photos):
    path, relist = copy
    weights = load_file(path / "model.safetensors")
    weights["fc.bias"][0] += 0.1
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    relist()
    models = [CheckpointModel(checkpoint)]
    with pytest.raises(ValueError, match="the network in timm's layout doesn't label as"):
        prove(path, models, photos, has_hub=True)
    assert "timm" not in prove(path, models, photos, has_hub=False).facts


def test_a_bundle_that_cannot_be_used_is_refused_in_one_sentence(copy, checkpoint, photos):
    path, _ = copy
    (path / "onnx" / "model.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"process of its own can't use it: .*model\.onnx"):
        prove(path, [CheckpointModel(checkpoint)], photos, has_hub=False)


def test_files_that_cannot_be_read_are_left_out(bundle, checkpoint, photos):
    def gone():
        raise OSError("the disk is gone")

    some = ParityPhotos([Photo("gone", gone), *photos.chosen], photos.odd, "of a disk")
    facts = prove(bundle, [CheckpointModel(checkpoint)], some, has_hub=False).facts
    assert facts["photos"] == 6


def test_the_mean_of_models_is_what_is_compared(bundle, checkpoint, photos):
    model = CheckpointModel(checkpoint)
    assert prove(bundle, [model, model], photos, has_hub=False).facts["max_difference"] < 1e-5
    with torch.no_grad():
        changed = {**checkpoint["state_dict"]}
        changed["backbone.fc.bias"] = changed["backbone.fc.bias"] + torch.tensor([0.5, 0, 0])
    other = CheckpointModel({**checkpoint, "state_dict": changed})
    with pytest.raises(ValueError, match="the graph doesn't label"):
        prove(bundle, [model, other], photos, has_hub=False)
