import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fashion.attributes import MISSING
from fashion.metrics.predictions import Predictions, per_class_table
from fashion.reports.attribute_comparison import (
    attribute_columns,
    attributes_shown,
    compare_attributes,
)
from fashion.reports.attributes_section import facts, tables
from fashion.reports.report import write_report
from fashion.reports.summary import headline

COLOURS = ("Blue", "Red", "<b>Teal</b>")


def drawn(num_rows, num_classes, seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, num_classes, num_rows)
    scores = rng.normal(size=(num_rows, num_classes))
    scores[np.arange(num_rows), targets] += 1.5
    shares = np.exp(scores)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32), targets


@pytest.fixture(scope="module")
def told():
    """Predictions of 200 photos, of which 150 have a colour and all a gender."""
    probabilities, targets = drawn(200, 3, seed=0)
    ids = np.array([str(1163 + i) for i in range(200)])
    label = Predictions(ids, probabilities, targets, ("Bags", "Caps", "Shoes"))
    colours, of_colour = drawn(200, 3, seed=1)
    of_colour[::4] = MISSING
    genders, of_gender = drawn(200, 2, seed=2)
    attributes = {
        "colour": label.of_attribute(COLOURS, colours, of_colour),
        "gender": label.of_attribute(("Men", "Women"), genders, of_gender),
    }
    attributes["colour"] = replace(attributes["colour"], temperature=1.5)
    return replace(label, attributes=attributes)


def test_what_was_said_of_attributes_is_saved_with_the_label(told, tmp_path):
    told.save(tmp_path / "predictions.npz")
    read = Predictions.load(tmp_path / "predictions.npz")
    assert list(read.attributes) == ["colour", "gender"]
    for name, each in told.attributes.items():
        again = read.attributes[name]
        assert again.image_ids.tolist() == each.image_ids.tolist()
        np.testing.assert_array_equal(again.probabilities, each.probabilities)
        np.testing.assert_array_equal(again.targets, each.targets)
        assert (again.class_names, again.temperature) == (each.class_names, each.temperature)
    assert len(read.attributes["colour"].targets) == 150
    replace(told, attributes={}).save(tmp_path / "alone.npz")
    with np.load(tmp_path / "alone.npz") as alone:
        assert {*alone} == {"image_ids", "probabilities", "targets", "class_names"}
    shuffled = told.attributes["colour"].sorted_by_id().image_ids
    assert told.sorted_by_id().attributes["colour"].image_ids.tolist() == shuffled.tolist()


def test_the_figures_of_an_attribute_are_of_the_photos_with_a_value(told, scikit_learn_metrics):
    found = facts(told)
    for name, each in told.attributes.items():
        expected = scikit_learn_metrics(each.probabilities, each.targets)
        for figure, value in expected.items():
            assert found[name][figure] == pytest.approx(value, abs=1e-6)
            low, high = found[name][f"{figure}_low"], found[name][f"{figure}_high"]
            assert low < found[name][figure] < high
        assert found[name]["support"] == len(each.targets)
    assert found["colour"]["calibration"]["temperature"] == 1.5
    assert "calibration" not in found["gender"]


def test_the_tables_have_each_attribute_in_their_first_column(told):
    made = tables(told)
    values, pairs = made["attribute_values"], made["attribute_pairs"]
    assert list(values.columns[:2]) == ["attribute", "value"]
    own = values[values["attribute"] == "colour"].drop(columns="attribute").reset_index(drop=True)
    expected = per_class_table(told.attributes["colour"]).rename(columns={"class": "value"})
    pd.testing.assert_frame_equal(own, expected)
    assert set(pairs["attribute"]) == {"colour", "gender"}
    assert tables(replace(told, attributes={})) == {}


def make_run(**data):
    counts = {"train": 8, "val": 1, "test": 1}
    return {
        **{"model": "resnet50", "seed": 42, "split": "test", "drawn_sample": True},
        "data": {
            **{"rows_in_file": 100, "rows_read": 100, "rows_kept": 100, "classes": 3},
            **{"relabelled": 0, "train": 80, "val": 10, "test": 10, "dropped": {}},
            **{"split": "random", "split_seed": 42, "splits_sha256": "9f86d0", "views": 0},
            **{"label_column": "articleType", "input_size": 224, "fit": "squash", "root": "/data"},
            **data,
        },
        "class_counts": dict.fromkeys(("Bags", "Caps", "Shoes"), counts),
        "trainable_parameters": {"backbone": 1, "head": 1},
        **{"total_parameters": 2, "best_epoch": 1, "epochs": 3, "config": {}},
        **{"seconds": {"total": 30.0, "per_epoch": 10.0}, "versions": {}},
    }


def test_the_report_has_a_section_for_each_attribute(told, tmp_path):
    colour = {"values": 3, "photos": 150, "no_value": 50, "rare": {"<i>Lime</i>": 2}}
    run = make_run(attributes={"colour": colour})
    summary = write_report(told, run, pd.DataFrame(), tmp_path)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert list(summary["test"]["attributes"]) == ["colour", "gender"]
    page = (tmp_path / "index.html").read_text()
    assert '<h2 id="attribute-1">colour</h2>' in page
    assert '<h2 id="attribute-2">gender</h2>' in page
    assert "&lt;b&gt;Teal&lt;/b&gt;" in page
    assert "<b>Teal" not in page
    assert "50 without one, 2 with one that doesn" in page
    assert len(pd.read_csv(tmp_path / "attribute_values.csv")) == 5
    assert "; colour: accuracy 0." in headline(summary)
    alone = write_report(replace(told, attributes={}), make_run(), pd.DataFrame(), tmp_path)
    assert "attributes" not in alone["test"]
    assert not (tmp_path / "attribute_values.csv").exists()
    assert "attribute-1" not in (tmp_path / "index.html").read_text()


def test_runs_are_compared_on_the_attributes_that_both_tell(told, tmp_path):
    colour = told.attributes["colour"]
    perfect = np.eye(3, dtype=np.float32)[colour.targets]
    better = replace(told, attributes={"colour": replace(colour, probabilities=perfect)})
    paths = {"first": tmp_path / "first.npz", "second": tmp_path / "second.npz"}
    told.save(paths["first"])
    better.save(paths["second"])
    table = compare_attributes(paths)
    [row] = table.to_dict("records")
    assert (row["attribute"], row["first"], row["second"]) == ("colour", "first", "second")
    assert row["second_only"] == (~colour.hits()).sum()
    assert row["is_real"]
    other = replace(colour, class_names=("Blue", "Red", "Green"))
    replace(better, attributes={"colour": other}).save(paths["second"])
    assert compare_attributes(paths).empty  # other values are no comparison
    columns = attribute_columns({"attributes": facts(told)})
    assert {"colour_accuracy", "gender_macro_auprc_high"} <= {*columns}
    shown = attributes_shown(pd.DataFrame([{"accuracy_low": 0.5, **columns}]))
    assert shown == ["colour", "gender"]
