"""Fixtures: a bundle that is written by hand; the brighter a photo, the surer the first class."""

import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from fashion.bundles.manifest import (
    EXPECTED,
    GRAPH,
    NAME,
    PHOTOS,
    Attribute,
    Calibrated,
    FileFacts,
    Manifest,
)
from fashion.catalogue.images import decode_image
from fashion.metrics.scaling import Answered

CLASSES = ("Bright", "Dark, or =so", "Grey")
WEIGHTS = np.float32([[1, -1, 0]] * 3) / 128
BIAS = np.float32([-3, 3, 0.5])
WAY = {"input_size": 8, "fit": "squash", "interpolation": "bilinear"}
GREYS = {"1-light.png": 240, "2-middle.png": 128, "3-dark.png": 10}


def graph(weights=WEIGHTS, classes=CLASSES, side=8):
    """Return the graph as a protobuf, to be changed."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["products"]),
        helper.make_node("Add", ["products", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = {"axes": np.int64([1, 2]), "weights": weights, "bias": BIAS}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "brightness",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", side, side, 3])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    helper.set_model_props(model, {"fashion.classes": json.dumps(classes)})
    return model


def expected(photos):
    """Return the probabilities `(B, 3)` of decoded photos, computed by NumPy."""
    logits = photos.mean(axis=(1, 2), dtype=np.float64) @ WEIGHTS + BIAS
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def png(grey):
    """Return a photo of one grey."""
    content = io.BytesIO()
    Image.new("RGB", (20, 30), (grey,) * 3).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(name="graph")
def graph_fixture():
    """Returns graph(weights, classes, side)."""
    return graph


@pytest.fixture(name="expected")
def expected_fixture():
    """Returns expected(photos)."""
    return expected


@dataclass
class Draft:
    """A bundle before it is written: files by name, and what else the manifest says."""

    files: dict[str, bytes]
    options: dict[str, object] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write it with a manifest that fits the files."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        facts = {
            name: FileFacts(hashlib.sha256(content).hexdigest(), len(content))
            for name, content in self.files.items()
        }
        manifest = Manifest(
            **{
                "name": "brightness",
                "classes": CLASSES,
                "preprocessing": WAY,
                "calibration": Calibrated(
                    temperature=1.5,
                    photos=100,
                    curve=(Answered(0.4, 0.8, 1.0), Answered(0.7, 0.9, 0.5)),
                ),
                "files": facts,
                "facts": {"training": {"versions": {"pillow": "11.0.0"}}},
                **self.options,
            }
        )
        (folder / NAME).write_bytes(manifest.to_json())
        return folder


def write_draft():
    """Return a bundle that isn't written yet."""
    tests = []
    files = {GRAPH: graph().SerializeToString()}
    for name, grey in GREYS.items():
        files[f"{PHOTOS}/{name}"] = png(grey)
        square = decode_image(png(grey), **WAY)
        digest = hashlib.sha256(square.tobytes()).hexdigest()
        probabilities = expected(square[None])[0].tolist()
        tests.append({"photo": name, "pixels_sha256": digest, "probabilities": probabilities})
    files[f"{PHOTOS}/4-cut.png"] = png(20)[:50]
    tests.append({"photo": "4-cut.png", "error": "cut off"})
    files[EXPECTED] = json.dumps(tests).encode()
    return Draft(files)


@pytest.fixture(scope="session")
def make_draft():
    """Returns make_draft(), a bundle that isn't written yet."""
    return write_draft


@pytest.fixture
def draft():
    """A bundle that isn't written yet."""
    return write_draft()


@pytest.fixture
def bundle(draft, tmp_path):
    """The folder of the bundle."""
    return draft.write(tmp_path / "brightness")


SHADES = {"shade": ("Pale", "Deep"), "photo": ("one", "two", "three")}


def draft_with_attributes():
    """Return a bundle that isn't written yet and tells two attributes beside the classes.

    The logits of `shade` are those of the first two classes, those of `photo` of all three, halved.
    """
    draft = write_draft()
    heads = {"label": (0, 3, 1.0), "shade": (0, 2, 1.0), "photo": (0, 3, 0.5)}
    model = graph()
    del model.graph.node[-1]
    constants = {"axis": np.int64([1])}
    for name, (first, last, factor) in heads.items():
        constants |= {f"{name}_first": np.int64([first]), f"{name}_last": np.int64([last])}
        constants[f"{name}_factor"] = np.float32(factor)
        model.graph.node.extend(
            [
                helper.make_node(
                    "Slice", ["logits", f"{name}_first", f"{name}_last", "axis"], [f"{name}_own"]
                ),
                helper.make_node("Mul", [f"{name}_own", f"{name}_factor"], [f"{name}_logits"]),
                helper.make_node("Softmax", [f"{name}_logits"], [f"{name}_shares"], axis=1),
            ]
        )
    parts = [f"{name}_shares" for name in heads]
    model.graph.node.append(helper.make_node("Concat", parts, ["probabilities"], axis=1))
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 8
    onnx.checker.check_model(model)
    named = {"fashion.classes": CLASSES, "fashion.attributes": SHADES}
    helper.set_model_props(model, {key: json.dumps(value) for key, value in named.items()})
    draft.files[GRAPH] = model.SerializeToString()
    tests = json.loads(draft.files[EXPECTED])
    for each in tests:
        if "error" not in each:
            square = decode_image(draft.files[f"{PHOTOS}/{each['photo']}"], **WAY)
            each["probabilities"] = expected_of_all(square[None])[0].tolist()
    draft.files[EXPECTED] = json.dumps(tests).encode()
    calibration = Calibrated(temperature=2.0, photos=50)
    draft.options["attributes"] = {
        name: Attribute(values, calibration) for name, values in SHADES.items()
    }
    return draft


def expected_of_all(photos):
    """Return the probabilities `(B, 8)` of decoded photos by label and attributes, by NumPy."""
    logits = photos.mean(axis=(1, 2), dtype=np.float64) @ WEIGHTS + BIAS
    parts = [np.exp(part) for part in (logits, logits[:, :2], logits / 2)]
    return np.concatenate([part / part.sum(axis=1, keepdims=True) for part in parts], axis=1)


@pytest.fixture
def attributes_draft():
    """A bundle with attributes that isn't written yet."""
    return draft_with_attributes()


@pytest.fixture
def attributes_bundle(attributes_draft, tmp_path):
    """The folder of a bundle that tells attributes."""
    return attributes_draft.write(tmp_path / "shades")


@pytest.fixture(name="expected_of_all")
def expected_of_all_fixture():
    """Returns expected_of_all(photos)."""
    return expected_of_all
