"""Attributes in the replies, without a process."""

import numpy as np
import pytest

from fashion.attributes import Heads
from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.onnx_model import OnnxModel
from fashion.service.models import ServedModel
from fashion.service.photos import Labelled
from fashion.service.replies import is_sure, likeliest, model_facts, photo_labels
from fashion.service.settings import Limits

PROBABILITIES = np.float32([0.2, 0.5, 0.3, 0.1, 0.9, 0.05, 0.9, 0.05])


@pytest.fixture
def model(attributes_bundle):
    network = OnnxModel(BundleFiles(attributes_bundle))
    return ServedModel(network, "shades", "id", False, 0.9, 0.7, None)


def outcome(probabilities=PROBABILITIES):
    return Labelled(sha256="0" * 64, width=20, height=30, probabilities=probabilities)


def test_the_likeliest_value_of_each_attribute_is_told(model):
    told = photo_labels("a.png", outcome(), model, 5)
    assert [each["label"] for each in told["labels"]] == ["Dark, or =so", "Grey", "Bright"]
    assert told["attributes"] == {
        "shade": {"label": "Deep", "probability": 0.9},
        "photo": {"label": "two", "probability": 0.9},
    }
    assert told["sure"] is False  # by the label alone, whatever the attributes are
    assert is_sure(outcome(PROBABILITIES[[1, 0, 2, 3, 4, 5, 6, 7]] + np.float32(0.3)), model)


def test_the_model_names_its_attributes(model):
    facts = model_facts(model, Limits(), review=False)
    assert facts["attributes"] == {"shade": ["Pale", "Deep"], "photo": ["one", "two", "three"]}
    columns = [("shade", "shade_probability"), ("photo (2)", "photo (2)_probability")]
    assert facts["attribute_columns"] == columns


def test_labels_are_of_the_label_alone():
    assert [label for label, _ in likeliest(Heads(("a", "b", "c")), outcome(PROBABILITIES[:3]), 2)]
    heads = Heads(("a", "b", "c"), {"d": tuple("efghi")})
    assert likeliest(heads, outcome(), 9)[0] == ("b", 0.5)
    assert len(likeliest(heads, outcome(), 9)) == 3
