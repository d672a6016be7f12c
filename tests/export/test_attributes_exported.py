import json

import numpy as np
import pytest
import torch

from fashion.attributes import Heads
from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.manifest import HUB_CONFIG, HUB_WEIGHTS, NAME
from fashion.bundles.onnx_model import OnnxModel
from fashion.bundles.verify import verify
from fashion.catalogue.images import decode_image
from fashion.export.export import export
from fashion.export.odd_photos import drawn_photos
from fashion.labelling.checkpoint_models import CheckpointModel, open_models
from fashion.models import checkpoints
from fashion.models.network import PhotoClassifier

NAMES = ["Flats", "Heels", "Shirts", "Socks"]
ATTRIBUTES = {"gender": ["Men", "Women"], "base colour": ["Blue", "Red", "Teal"]}


@pytest.fixture(scope="module")
def checkpoint(write_checkpoint, tmp_path_factory):
    """One with a temperature of 2 for the label, 3 for gender and none for the colour."""
    path = tmp_path_factory.mktemp("two") / "best.ckpt"
    return write_checkpoint(path, attributes=ATTRIBUTES, temperature=2.0)


@pytest.fixture(scope="module")
def squares(checkpoint):
    way = checkpoints.read(checkpoint)["preprocessing"]
    return np.stack([decode_image(content, **way) for content in drawn_photos(5)])


def by_hand(checkpoint, squares):
    """Return the softmax of each head's own logits at its own temperature."""
    network = PhotoClassifier.restore(checkpoints.read(checkpoint))
    with torch.inference_mode():
        logits = network(torch.from_numpy(squares).permute(0, 3, 1, 2)).double()
    parts = [logits[:, :4] / 2, logits[:, 4:6] / 3, logits[:, 6:]]
    return torch.cat([part.softmax(dim=1) for part in parts], dim=1).numpy()


def test_a_checkpoint_calibrates_each_head_by_itself(checkpoint, squares):
    model = CheckpointModel(checkpoints.read(checkpoint), torch.device("cpu"))
    assert model.heads == Heads.of(NAMES, ATTRIBUTES)
    expected = by_hand(checkpoint, squares)
    np.testing.assert_allclose(model.probabilities(squares), expected, atol=1e-6)


def test_checkpoints_of_other_attributes_are_not_averaged(checkpoint, write_checkpoint, tmp_path):
    turned = {name: ATTRIBUTES[name][::-1] for name in reversed(ATTRIBUTES)}
    other = write_checkpoint(tmp_path / "turned.ckpt", attributes=turned)
    assert len(open_models([checkpoint, other])) == 2  # the same in another order
    alone = write_checkpoint(tmp_path / "alone.ckpt")
    with pytest.raises(ValueError, match="tells other classes apart"):
        open_models([checkpoint, alone])


def test_a_bundle_tells_the_attributes_and_says_why_timm_does_not(checkpoint, squares, tmp_path):
    exported = export([checkpoint], tmp_path / "bundle")
    files = BundleFiles(exported.path)
    assert files.manifest.heads == Heads.of(NAMES, ATTRIBUTES)
    temperatures = [each.calibration.temperature for each in files.manifest.attributes.values()]
    assert temperatures == [3.0, 1.0]
    probabilities = OnnxModel(files).probabilities(squares)
    np.testing.assert_allclose(probabilities, by_hand(checkpoint, squares), atol=1e-4)
    assert not {HUB_CONFIG, HUB_WEIGHTS} & files.manifest.files.keys()
    told = json.loads((exported.path / NAME).read_bytes())
    assert told["schema"] == 2
    assert "attributes" in told["left_out"]["why"]
    card = (exported.path / "README.md").read_text(encoding="utf-8")
    assert "## Attributes" in card
    assert "| `base colour` | `Blue`, `Red`, `Teal` |" in card
    assert "tells attributes, too" in card
    assert not verify(files).faults


@pytest.mark.parametrize("asked", ["int8", "bfloat16"])
def test_fewer_bits_are_refused(asked, checkpoint, tmp_path):
    with pytest.raises(ValueError, match=rf"{asked}=true is for a network of one label, and"):
        export([checkpoint], tmp_path / "bundle", **{asked: True})
