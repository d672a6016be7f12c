import numpy as np
import pytest
import torch
from random_weights import spread_out

from fashion.catalogue.images import decode_image
from fashion.export.export import export
from fashion.export.odd_photos import drawn_photos
from fashion.metrics.scaling import Calibration
from fashion.models import checkpoints
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
