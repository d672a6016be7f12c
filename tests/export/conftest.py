import numpy as np
import pytest
import torch

from fashion.catalogue.images import decode_image
from fashion.export.export import export
from fashion.export.odd_photos import drawn_photos
from fashion.metrics.scaling import Calibration
from fashion.models import checkpoints
from fashion.models.heads import names_of_heads
from fashion.models.network import PhotoClassifier

NAMES = ["Flats", "Heels", "Shirts", "Socks"]


@pytest.fixture(scope="session")
def write_checkpoint():
    """Returns write(path, ...), which writes a checkpoint of random weights that knows no run.

    Its head tells drawn photos apart, surely and unsurely. Without a temperature it has no
    calibration.
    """

    def write(
        path, *, backbone="test_resnet", names=NAMES, fit="squash", size=32, temperature=None,
        seed=0,
    ):  # fmt: skip
        torch.manual_seed(seed)
        settings = {"backbone": backbone, "input_size": size, "unfreeze": [], "dropout": 0.0}
        settings["class_names"] = list(names)
        network = PhotoClassifier(**settings, pretrained=False, weights=None)
        way = {"input_size": size, "interpolation": "bicubic", "fit": fit}
        spread_out(network, [decode_image(content, **way) for content in drawn_photos(16)])
        checkpoint = {
            "hyper_parameters": settings,
            "state_dict": network.state_dict(),
            "preprocessing": way,
            "run": {},
        }
        if temperature is not None:
            confidences = np.array([0.5, 0.7, 0.9, 0.95], np.float32)
            hits = np.array([False, True, True, True])
            checkpoint["calibration"] = Calibration(temperature, confidences, hits).state()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            checkpoints.write(checkpoint, file)
        return path

    return write


def spread_out(network, squares):
    """Scale a network's head so that its logits of some photos have mean 0 and deviation 2."""
    photos = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
    heads = [
        dict(network.backbone.named_modules())[name] for name in names_of_heads(network.backbone)
    ]
    with torch.no_grad():
        for head in heads:
            head.bias.zero_()
        logits = network.eval()(photos)
        scale = 2 / logits.std(dim=0).mean()
        for head in heads:
            head.weight.mul_(scale)
            shift = (-scale * logits.mean(dim=0)).reshape(head.bias.shape)
            head.bias.copy_(shift)


@pytest.fixture(scope="session")
def told():
    """What the export of `bundle` has told."""
    return []


@pytest.fixture(scope="session")
def bundle(run_dir, told, tmp_path_factory):
    """A bundle of `run_dir`, called shop; don't write into it."""
    path = tmp_path_factory.mktemp("bundles") / "shop"
    export([run_dir / "checkpoints" / "best.ckpt"], path, license_id="mit", tell=told.append)
    return path


@pytest.fixture
def quickly(bundle, monkeypatch):
    """Has exports take the graph of `bundle`, which is fit for `run_dir` alone, as it is."""

    def write_graph(parts, path, name, preprocessing):
        path.write_bytes((bundle / "onnx" / "model.onnx").read_bytes())

    monkeypatch.setattr("fashion.export.export.write_graph", write_graph)
