"""Networks of other families, and the study's six, pass the gate as bundles."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.onnx_model import OnnxModel
from fashion.catalogue.images import decode_image
from fashion.defaults import CONF
from fashion.export.export import export
from fashion.export.odd_photos import drawn_photos
from fashion.labelling.checkpoint_models import CheckpointModel
from fashion.models import checkpoints

NAMES = [f"class {number}" for number in range(12)]
# Small sides, but one a network is built for, or that its last pooling needs.
SIDES = {"nasnetlarge": 128, "inceptionv3": 139}


def check(path, output):
    """Export a checkpoint, and compare probabilities once more, of other photos."""
    exported = export([path], output, tell=lambda _: None)
    parity = exported.manifest.facts["parity"]
    assert parity["photos"] + parity["odd_photos"] == 229
    assert parity["same_label"] + parity["near_ties"] == 228
    assert parity["max_difference"] < 1e-4
    assert parity["timm"]["max_difference_on_same_pixels"] < 1e-4
    way = exported.manifest.preprocessing
    photos = np.stack([decode_image(content, **way) for content in drawn_photos(260)[-8:]])
    ours = CheckpointModel(checkpoints.read(path)).probabilities(photos)
    theirs = OnnxModel(BundleFiles(output)).probabilities(photos)
    assert len({*ours.argmax(axis=1)}) > 1
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "size"), [("mobilenetv3_small_050", 64), ("vit_tiny_patch16_224", 64)]
)
def test_other_families_pass_the_gate(backbone, size, write_checkpoint, tmp_path):
    path = write_checkpoint(
        tmp_path / "best.ckpt", backbone=backbone, size=size, names=NAMES, temperature=1.3
    )
    check(path, tmp_path / "bundle")


@pytest.mark.long
@pytest.mark.parametrize(
    "model",
    [path.stem for path in sorted(CONF.glob("model/*.yaml")) if path.stem not in ("base", "timm")],
)
def test_each_of_the_six_passes_the_gate(model, write_checkpoint, tmp_path):
    backbone = OmegaConf.load(CONF / "model" / f"{model}.yaml").backbone
    path = write_checkpoint(
        tmp_path / "best.ckpt", backbone=backbone, size=SIDES.get(model, 96), names=NAMES,
        fit="pad", temperature=0.8,
    )  # fmt: skip
    check(path, tmp_path / "bundle")


def test_there_are_six():
    marks = test_each_of_the_six_passes_the_gate.pytestmark
    (models,) = [mark.args[1] for mark in marks if mark.name == "parametrize"]
    assert len(models) == 6
