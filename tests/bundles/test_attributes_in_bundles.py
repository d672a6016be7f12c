import csv
import json

import numpy as np
import pytest

from fashion.attributes import Heads
from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.manifest import GRAPH, NAME, read_manifest
from fashion.bundles.onnx_model import OnnxModel
from fashion.bundles.verify import verify
from fashion.catalogue.images import decode_image
from fashion.labelling.label_files import label_files
from fashion.labelling.labels_table import LabelsTable
from fashion.tables import attribute_columns

SHADES = {"shade": ("Pale", "Deep"), "photo": ("one", "two", "three")}


def test_a_manifest_tells_attributes_and_is_of_the_second_schema(attributes_bundle, bundle):
    files = BundleFiles(attributes_bundle)
    assert files.manifest.heads == Heads(files.manifest.classes, SHADES)
    assert files.manifest.attributes["shade"].calibration.temperature == 2.0
    told = json.loads((attributes_bundle / NAME).read_bytes())
    assert told["schema"] == 2
    assert told["attributes"][0]["name"] == "shade"
    alone = json.loads((bundle / NAME).read_bytes())
    assert alone["schema"] == 1
    assert "attributes" not in alone


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "attributes is no list"),
        ([{"name": "shade"}], "lacks 'classes'"),
        ([{"name": "", "classes": ["a", "b"]}], "name='' is no name"),
        ([{"name": "shade", "classes": ["a"]}], "classes has 1 names"),
    ],
)
def test_damaged_attributes_are_named(attributes, message, attributes_bundle):
    told = json.loads((attributes_bundle / NAME).read_bytes())
    with pytest.raises(ValueError, match=message):
        read_manifest(json.dumps({**told, "attributes": attributes}).encode(), "bundle='x'")
    twice = [*told["attributes"], told["attributes"][0]]
    with pytest.raises(ValueError, match="attributes has a name twice"):
        read_manifest(json.dumps({**told, "attributes": twice}).encode(), "bundle='x'")


def test_the_graph_s_probabilities_are_those_of_each_head(attributes_bundle, expected_of_all):
    model = OnnxModel(BundleFiles(attributes_bundle))
    photos = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    probabilities = model.probabilities(photos)
    np.testing.assert_allclose(probabilities, expected_of_all(photos), atol=1e-6)
    for part in model.heads.outputs(probabilities):
        np.testing.assert_allclose(part.sum(axis=1), 1, atol=1e-6)


def test_verify_finds_a_graph_of_other_attributes(attributes_draft, tmp_path):
    verdict = verify(BundleFiles(attributes_draft.write(tmp_path / "whole")))
    assert not verdict.faults, verdict.faults
    changed = attributes_draft.files[GRAPH].replace(b'"Pale"', b'"Dark"')
    assert changed != attributes_draft.files[GRAPH]
    attributes_draft.files[GRAPH] = changed
    verdict = verify(BundleFiles(attributes_draft.write(tmp_path / "changed")))
    assert verdict.faults == [
        f"{GRAPH} has other attributes than bundle.json, or in another order."
    ]


def test_predict_writes_the_likeliest_value_of_each_attribute(
    attributes_bundle, attributes_draft, expected_of_all, tmp_path
):
    photos = attributes_bundle / "selftest" / "photos"
    output = tmp_path / "labels.csv"
    counts = label_files([photos], bundle=attributes_bundle, output=output, precision=0.9)
    assert sum(counts.values()) == 4
    rows = list(csv.DictReader(output.read_text(encoding="utf-8").splitlines()))
    names = [f"{kind}_{i}" for i in (1, 2, 3) for kind in ("label", "probability")]
    others = ["shade", "shade_probability", "photo (2)", "photo (2)_probability"]
    assert list(rows[0]) == ["photo", *names, "sure", *others, "error"]
    way = BundleFiles(attributes_bundle).manifest.preprocessing
    for row in rows[:3]:
        name = row["photo"].rpartition("/")[2]
        square = decode_image(attributes_draft.files[f"selftest/photos/{name}"], **way)
        [probabilities] = expected_of_all(square[None])
        for column, values, own in (
            ("shade", SHADES["shade"], probabilities[3:5]),
            ("photo (2)", SHADES["photo"], probabilities[5:]),
        ):
            assert row[column] == values[own.argmax()]
            assert float(row[f"{column}_probability"]) == pytest.approx(own.max(), abs=2e-6)
        assert float(row["probability_1"]) == pytest.approx(probabilities[:3].max(), abs=2e-6)
        assert row["sure"] == ("yes" if probabilities[:3].max() >= 0.7 else "no")
    assert rows[3]["error"]
    assert not any(rows[3][column] for column in others)


def test_without_attributes_the_columns_are_what_they_were():
    assert LabelsTable(["a", "b"]).columns == LabelsTable(["a", "b"], None, {}).columns
    assert LabelsTable(["a", "b"], 0.5).columns == [
        *("photo", "label_1", "probability_1", "label_2", "probability_2", "sure", "error")
    ]


def test_a_column_s_name_is_taken_once():
    assert attribute_columns(["gender", "label_1", "bytes"]) == [
        ("gender", "gender_probability"),
        ("label_1 (2)", "label_1 (2)_probability"),
        ("bytes (2)", "bytes (2)_probability"),
    ]
    assert attribute_columns(["a", "a_probability"])[1][0] == "a_probability (2)"
