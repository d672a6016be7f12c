"""A bundle of a run that reads names: the gate proves it with names, and the card says so."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.names_files import read_names, write_names
from fashion.bundles.verify import verify
from fashion.export.export import export
from fashion.export.parity_names import HOSTILE, parity_names
from fashion.names.masking import Mask
from fashion.training.plugins import store_names

TIED = [["casio", "Watches", 20, 1.0], ["puma", "Shirts", 20, 1.0], ["nike", "Jeans", 20, 0.95]]


@pytest.fixture
def named_best(run_dir, name_model, tmp_path):
    """The checkpoint of a run that keeps a model of names."""
    best = shutil.copytree(run_dir, tmp_path / "run") / "checkpoints" / "best.ckpt"
    store_names(best, {**name_model.state(), "record": {"tied": TIED}})
    return best


@pytest.mark.usefixtures("quickly")
def test_a_bundle_holds_the_checkpoints_names(named_best, name_model, tmp_path):
    exported = export([named_best], tmp_path / "shop")
    files = BundleFiles(tmp_path / "shop")
    assert files.manifest.names.mask.state() == name_model.mask.state()
    np.testing.assert_array_equal(read_names(files).weights, name_model.weights)
    facts = exported.manifest.facts
    assert facts["parity"]["names"]["max_difference"] <= 1e-4
    assert facts["parity"]["names"]["photos"] > 20
    assert "model.safetensors label by the photo alone" in facts["names_are_in"]
    card = (tmp_path / "shop" / "README.md").read_text()
    assert "names=FILE.csv" in card
    assert "can't hold it and label by the photo alone" in card
    tests = json.loads(files.read("selftest/expected.json"))
    assert {test.get("name") for test in tests} & {*HOSTILE}
    assert verify(files).faults == []


@pytest.mark.usefixtures("quickly")
def test_a_model_of_names_that_says_something_else_is_no_bundle(named_best, tmp_path, monkeypatch):
    def write_others(names, folder):
        write_names(replace(names, weights=names.weights[:, ::-1].copy()), folder)

    monkeypatch.setattr("fashion.export.export.write_names", write_others)
    with pytest.raises(ValueError, match="the model of names doesn't label as ckpt_path does"):
        export([named_best], tmp_path / "shop")
    assert not (tmp_path / "shop").exists()


def test_the_gates_names_are_of_all_kinds():
    names = parity_names(Mask("types", ["shirts", "watches"]), {"tied": TIED})
    assert {"", "casio", "shirts", "casio shirts", *HOSTILE} <= {*names}
    assert parity_names(Mask("none"), None)[-1] in HOSTILE
