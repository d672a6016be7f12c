import numpy as np
import pytest
import torch

from fashion.catalogue.images import decode_image
from fashion.export.export import export
from fashion.export.odd_photos import drawn_photos
from fashion.metrics.scaling import Calibration
from fashion.models import checkpoints
from fashion.models.backbone import BATCH_NORMS
from fashion.models.heads import names_of_heads
from fashion.models.network import PhotoClassifier

NAMES = ["Flats", "Heels", "Shirts", "Socks"]


@pytest.fixture(scope="session")
def write_checkpoint():
    """Returns write(path, ...), which writes a checkpoint of random weights that knows no run.

    It tells drawn photos apart, surely and unsurely, and its BatchNorms are frozen. Without a
    temperature it has no calibration.
    """

    def write(
        path, *, backbone="test_resnet", names=NAMES, fit="squash", size=32, temperature=None,
        seed=0, attributes=None,
    ):  # fmt: skip
        torch.manual_seed(seed)
        settings = {"backbone": backbone, "input_size": size, "unfreeze": [], "dropout": 0.0}
        settings["class_names"] = list(names)
        if attributes:
            settings["attributes"] = attributes
        start = {"pretrained": False, "weights": None}
        plain = PhotoClassifier(**{**settings, "unfreeze": "all"}, **start)
        way = {"input_size": size, "interpolation": "bicubic", "fit": fit}
        squares = np.stack([decode_image(content, **way) for content in drawn_photos(16)])
        spread_out(plain, torch.from_numpy(squares).permute(0, 3, 1, 2))
        frozen = PhotoClassifier(**settings, **start)
        frozen.load_state_dict(plain.state_dict())
        checkpoint = {
            "hyper_parameters": settings,
            "state_dict": frozen.state_dict(),
            "preprocessing": way,
            "run": {},
        }
        if temperature is not None:
            confidences = np.array([0.5, 0.7, 0.9, 0.95], np.float32)
            hits = np.array([False, True, True, True])
            checkpoint["calibration"] = Calibration(temperature, confidences, hits).state()
            others = [Calibration(temperature + 1, confidences, hits).state()] * bool(attributes)
            checkpoint["attribute_calibrations"] = dict(zip(attributes or (), others, strict=False))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            checkpoints.write(checkpoint, file)
        return path

    return write


@torch.no_grad()
def spread_out(network, photos):
    """Have a network of random weights tell photos apart, so that rounding stays rounding.

    In a deep one photos end up all but alike, or, if each layer makes the most of what parts them,
    far from each other by chance: what is rounded off decides. With BatchNorms that keep what
    photos share, and weights a little above zero in their mean, it does neither. Its logits of
    these photos are of mean 0 and deviation 2.
    """
    modules = dict(network.eval().backbone.named_modules())
    hooks = []
    for module in modules.values():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.mul_(0.9).add_(module.weight.abs() / 9)
        elif isinstance(module, BATCH_NORMS):
            hooks.append(module.register_forward_pre_hook(take_scale))
    network(photos)
    for hook in hooks:
        hook.remove()
    heads = [modules[name] for name in names_of_heads(network.backbone)]
    for head in heads:
        head.bias.zero_()
    logits = network(photos)
    scale = 2 / logits.std(dim=0).mean()
    for head in heads:
        head.weight.mul_(scale)
        head.bias.copy_((-scale * logits.mean(dim=0)).reshape(head.bias.shape))


def take_scale(batch_norm, inputs):
    """Have a BatchNorm scale its inputs, and leave their mean in them."""
    batch_norm.running_mean.zero_()
    batch_norm.running_var.copy_(inputs[0].square().mean(dim=(0, 2, 3)))


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
