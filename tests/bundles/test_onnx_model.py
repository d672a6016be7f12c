"""A bundle's graph labels as NumPy does, and one that isn't safe never runs."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.graph_check import labels_in
from fashion.bundles.manifest import GRAPH, INT8_GRAPH, Calibrated
from fashion.bundles.onnx_model import OnnxModel


def opened(draft, folder, **options):
    return OnnxModel(BundleFiles(draft.write(folder)), **options)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_probabilities_are_those_of_numpy(batch, bundle, expected):
    model = OnnxModel(BundleFiles(bundle))
    photos = np.random.default_rng(0).integers(0, 256, (batch, 8, 8, 3), dtype=np.uint8)
    found = model.probabilities(photos)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected(photos), abs=1e-6)


def test_a_large_batch_is_computed_in_parts(bundle, expected, monkeypatch):
    monkeypatch.setattr("fashion.bundles.onnx_model.PIXELS", 3 * 8 * 8)
    model = OnnxModel(BundleFiles(bundle))
    photos = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    assert model.probabilities(photos) == pytest.approx(expected(photos), abs=1e-6)


def test_the_quantised_network_is_taken_where_it_is_asked_for(draft, graph, tmp_path):
    with pytest.raises(ValueError, match=r"int8=true: bundle=.* has no quantised network"):
        opened(draft, tmp_path / "without", int8=True)
    draft.files[INT8_GRAPH] = graph(np.zeros((3, 3), np.float32)).SerializeToString()
    draft.options["int8"] = Calibrated(temperature=1.0, photos=0, curve=())
    model = opened(draft, tmp_path / "with", int8=True)
    assert "int8" in model.engine
    photos = np.zeros((2, 8, 8, 3), np.uint8)
    assert (model.probabilities(photos) == model.probabilities(photos + 9)).all()
    with pytest.raises(ValueError, match="has no calibration"):
        model.threshold(0.9)


def of_another_domain(model):
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.node[4].domain = "com.microsoft"


def of_another_domain_inside(model):
    inner = helper.make_graph([helper.make_node("Mine", [], ["x"], domain="evil")], "inner", [], [])
    model.graph.node.append(
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    )


def with_a_function(model):
    nodes = [helper.make_node("Identity", ["a"], ["b"])]
    model.functions.append(
        helper.make_function("", "Mine", ["a"], ["b"], nodes, [helper.make_opsetid("", 20)])
    )


def with_external_data(model):
    tensor = model.graph.initializer[1]
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    tensor.ClearField("raw_data")


def with_external_data_in_a_node(model):
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], bytes(4), raw=True)
    onnx.external_data_helper.set_external_data(tensor, "../secret")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def of_another_size(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 9


def of_floats(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def of_more_classes(model):
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4


def with_another_input(model):
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (of_another_domain, "asks for operators of 'com.microsoft'"),
        (of_another_domain_inside, "asks for operators of 'evil'"),
        (with_a_function, "has functions"),
        (with_external_data, "takes numbers from other files"),
        (with_external_data_in_a_node, "takes numbers from other files"),
        (of_another_size, r"isn't one that labels photos of \(8, 8, 3\) as 3 classes"),
        (of_floats, "isn't one that labels"),
        (of_more_classes, "isn't one that labels"),
        (with_another_input, "isn't one that labels"),
    ],
)
def test_a_graph_that_is_more_than_a_labeller_never_reaches_the_engine(
    spoil, message, draft, graph, tmp_path, monkeypatch
):
    model = graph()
    spoil(model)
    draft.files[GRAPH] = model.SerializeToString()
    monkeypatch.setattr("onnxruntime.InferenceSession", None)  # a call would raise TypeError
    with pytest.raises(ValueError, match=message):
        opened(draft, tmp_path / "spoilt")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08\x0a" + b"\xff" * 50])
def test_what_is_no_graph_is_told(content, draft, tmp_path):
    draft.files[GRAPH] = content
    with pytest.raises(ValueError, match=r"is no ONNX graph|isn't one that labels"):
        opened(draft, tmp_path / "spoilt")


def test_a_graph_that_the_engine_refuses_is_told(draft, graph, tmp_path):
    model = graph()
    model.graph.node[2].input[1] = "nowhere"
    draft.files[GRAPH] = model.SerializeToString()
    with pytest.raises(ValueError, match=r"model\.onnx can't be computed here: "):
        opened(draft, tmp_path / "spoilt")


def test_classes_in_the_metadata_are_read(graph):
    model = graph()
    assert labels_in(model.SerializeToString()) == ["Bright", "Dark, or =so", "Grey"]
    helper.set_model_props(model, {"fashion.classes": json.dumps(["a"])[:-1]})
    assert labels_in(model.SerializeToString()) is None
