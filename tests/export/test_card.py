import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.manifest import Calibrated
from fashion.export.card import MOST_CLASSES, WEAKEST, write_card
from fashion.metrics.predictions import Predictions


@pytest.fixture
def manifest(bundle):
    return BundleFiles(bundle).manifest


@pytest.fixture
def predictions(run_dir):
    return Predictions.load(run_dir / "predictions.npz")


def card(manifest, predictions=None, **facts):
    changed = replace(manifest, facts={**manifest.facts, **facts})
    return write_card(changed, predictions, num_files=35, num_bytes=3_300_000)


def test_a_hub_reads_what_the_card_begins_with(bundle, manifest):
    data = ModelCard.load(bundle / "README.md").data
    assert (data.library_name, data.pipeline_tag) == ("timm", "image-classification")
    assert data.license == "mit"
    assert data.tags == ["image-classification", "fashion", "onnx", "timm", "transformers"]
    assert data.model_name == "shop"
    told = {result.metric_name: result.metric_value for result in data.eval_results}
    assert told == {
        name: manifest.facts["metrics"][key]["value"]
        for name, key in (
            ("accuracy", "accuracy"),
            ("macro-F1", "macro_f1"),
            ("macro-AUPRC", "macro_auprc"),
        )
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Apache-2.0", {"license": "Apache-2.0"}),
        ("our own terms", {"license": "other", "license_name": "our own terms"}),
        (None, {}),
    ],
)
def test_the_licence_is_the_one_that_was_given(given, expected, manifest):
    text = card(manifest, license={"weights": given})
    data = ModelCard(text).data.to_dict()
    assert {key: data[key] for key in data if key.startswith("license")} == expected
    section = text.split("## Licence")[1].split("##")[0]
    assert (given or "None was given.") in section


def test_figures_are_told_with_their_intervals(manifest, predictions):
    text = card(manifest, predictions)
    accuracy = manifest.facts["metrics"]["accuracy"]
    row = (
        f"| accuracy | {accuracy['value']:.4f} | {accuracy['low']:.4f} to {accuracy['high']:.4f} |"
    )
    assert row in text.splitlines()
    for name in manifest.classes:
        assert f"| `{name}` | 4 |" in text
    without = card(manifest, metrics=None)
    assert "None are known" in without
    assert "| accuracy |" not in without
    assert "model-index" not in without


def test_a_drawn_catalogue_is_told(manifest, predictions):
    drawn = {**manifest.facts["training"], "drawn_sample": True}
    assert "say nothing of real photos" in card(manifest, predictions, training=drawn)
    assert "say nothing of real photos" not in card(manifest, predictions)


def test_what_is_not_known_of_probabilities_is_told(manifest):
    assert "divided by the temperature" in card(manifest)
    never = replace(manifest, calibration=Calibrated(temperature=1.0))
    assert "aren't calibrated" in card(never)
    several = replace(manifest, calibration=replace(manifest.calibration, temperature=None))
    assert "mean of several networks'" in card(several)
    assert "no confidence makes 95 %" in card(manifest, thresholds={})


def test_of_many_classes_the_weakest_are_told(manifest):
    k = MOST_CLASSES + 20
    names = tuple(f"class {n:03}" for n in range(k))
    targets = np.repeat(np.arange(k), 2)
    probabilities = np.full((2 * k, k), 1e-4, np.float32)
    named = np.where(targets < 30, 99, targets)  # the first 30 are never found
    probabilities[np.arange(2 * k), named] = 0.9
    ids = np.array([str(n) for n in range(2 * k)])
    predictions = Predictions(ids, probabilities, targets, names)
    text = card(replace(manifest, classes=names), predictions)
    assert "Found least often in the test split:" in text
    rows = re.findall(r"^\| `(class \d+)` \| 2 \| 0\.0 % \|", text, re.MULTILINE)
    assert rows == [f"class {n:03}" for n in range(WEAKEST)]
    assert all(f"`{name}`" in text for name in names)


def test_names_stay_text_in_markdown(manifest, from_counts):
    names = ("Bags | Belts", "T`s", "<b>Caps</b>")
    predictions = from_counts(np.eye(3, dtype=int) * 4, names)
    text = card(replace(manifest, classes=names, name="my # shop"), predictions)
    assert "| `Bags \\| Belts` | 4 |" in text
    assert "| `` T`s `` | 4 |" in text
    assert "| `<b>Caps</b>` | 4 |" in text


def test_the_code_of_the_card_runs_and_gives_the_calibrated_label(bundle, tmp_path, monkeypatch):
    text = (bundle / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (60, 80), (200, 40, 40)).save("photo.jpg")
    printed = []
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        code = code.replace("FOLDER", str(bundle))
        with torch.inference_mode():
            exec(code, {"print": lambda *words: printed.append(words)})
    (label, confidence), (answers,) = printed
    assert label == answers[0]["label"]
    assert confidence == pytest.approx(answers[0]["score"], abs=1e-5)


def test_what_leaves_the_machine_is_told(bundle, manifest):
    text = (bundle / "README.md").read_text(encoding="utf-8")
    size = sum(file.bytes for file in manifest.files.values()) / 1e6
    told = re.search(r"hf upload OWNER/NAME FOLDER\n```\n\n(\d+) files of ([\d.]+) MB leave", text)
    assert int(told[1]) == len(manifest.files) + 1
    assert float(told[2]) == pytest.approx(size, abs=0.06)
    assert "no photo of the catalogue" in text
