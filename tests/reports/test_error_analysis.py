import base64
import copy
import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from timm.layers import SelectAdaptivePool2d
from torch import nn

from fashion.catalogue.images import decode_image
from fashion.labelling.checkpoint_models import load_calibration
from fashion.metrics.calibration import fit_calibration
from fashion.metrics.predictions import Predictions
from fashion.metrics.scaling import Calibration
from fashion.models import checkpoints
from fashion.reports import error_analysis
from fashion.reports.corruptions import CORRUPTIONS, Corruption
from fashion.reports.evaluate import evaluate
from fashion.reports.pages import Gallery
from fashion.reports.parts import Parts
from fashion.training.inference import predict_changed, predict_split, predict_unknown


@pytest.fixture(scope="module")
def parts(run_dir, load_parts):
    """A trainer, the finished run's model and its catalogue."""
    return load_parts(run_dir)


def test_the_calibration_in_the_checkpoint_is_that_of_the_validation_split(run_dir, parts):
    validated = Predictions.load(run_dir / "predictions-val.npz")
    tested = Predictions.load(run_dir / "predictions.npz")
    splits = pd.read_csv(run_dir / "splits.csv", dtype=str)
    assert set(validated.image_ids) == set(splits[splits["split"] == "val"]["id"])
    kept = load_calibration(checkpoints.read(run_dir / "checkpoints" / "best.ckpt"))
    expected = fit_calibration(validated.probabilities, validated.targets)
    assert kept.temperature == expected.temperature
    assert validated.temperature == tested.temperature == kept.temperature
    np.testing.assert_array_equal(kept.confidences, expected.confidences)
    np.testing.assert_array_equal(kept.hits, expected.hits)


def test_a_checkpoint_from_before_there_were_calibrations_is_given_one(run_dir, tmp_path):
    path = tmp_path / "checkpoints" / "best.ckpt"
    path.parent.mkdir()
    before = checkpoints.read(run_dir / "checkpoints" / "best.ckpt")
    known = load_calibration({"calibration": before.pop("calibration")})
    torch.save(before, path)
    evaluate(path, trainer={"accelerator": "cpu"}, robustness_photos=0)
    after = checkpoints.read(path)
    assert load_calibration(after).temperature == pytest.approx(known.temperature, rel=1e-3)
    assert (tmp_path / "predictions-val.npz").exists()
    after.pop("calibration")
    assert after.keys() == before.keys()
    for key, value in before["state_dict"].items():
        assert torch.equal(after["state_dict"][key], value)


def test_changed_photos_are_predicted_as_such(parts):
    trainer, classifier, datamodule = parts
    rows = np.array([0, 2, 5, 7, 8])
    changes = [CORRUPTIONS[0].apply, CORRUPTIONS[8].apply, np.copy]
    found = predict_changed(trainer, classifier, datamodule, "test", rows, changes)
    ids = datamodule.splits.rows("test")["id"].to_numpy(dtype=str)[rows]
    photos = datamodule.photos(ids)
    for change, probabilities in zip(changes, found, strict=True):
        batch = torch.from_numpy(np.stack([change(photo) for photo in photos]))
        with torch.no_grad():
            expected = classifier(batch.permute(0, 3, 1, 2)).softmax(dim=1).numpy()
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    whole = predict_split(trainer, classifier, datamodule, "test")
    np.testing.assert_allclose(found[2], whole.probabilities[rows], atol=1e-5)


def test_the_robustness_starts_from_the_same_photos_as_they_are(parts):
    trainer, classifier, datamodule = parts
    predictions = predict_split(trainer, classifier, datamodule, "test")
    table = error_analysis.measure_robustness(*parts, predictions, "test", 6)
    assert len(table) == 1 + len(CORRUPTIONS)
    assert (table["support"] == 6).all()
    again = error_analysis.measure_robustness(*parts, predictions, "test", 6)
    pd.testing.assert_frame_equal(table, again)
    every = error_analysis.measure_robustness(*parts, predictions, "test", 10**6)
    assert every.loc[0, "accuracy"] == predictions.hits().mean()


def test_each_change_has_the_accuracy_on_photos_changed_by_it(parts, monkeypatch):
    """What the model says of the photos as they are is taken for the truth."""
    found = predict_split(*parts, "test")
    assert len(set(found.probabilities.argmax(axis=1))) > 1
    predictions = replace(found, targets=found.probabilities.argmax(axis=1))
    changes = (
        Corruption("copied", "whole", np.copy),
        Corruption("painted", "white", lambda photo: np.full_like(photo, 255)),
    )
    monkeypatch.setattr(error_analysis, "CORRUPTIONS", changes)
    table = error_analysis.measure_robustness(*parts, predictions, "test", 10**6)
    assert table["name"].tolist() == ["unchanged", "copied", "painted"]
    unchanged, copied, painted = table["accuracy"]
    assert unchanged == copied == 1 > painted


def test_the_confidences_in_unknown_photos_are_calibrated(parts):
    calibration = Calibration(3.0, np.float32([0.5]), np.array([True]))
    found = error_analysis.analyse_errors(
        *parts,
        predict_split(*parts, "test"),
        "test",
        calibration=calibration,
        robustness_photos=0,
        parts=Parts(),
    )
    scores = predict_unknown(*parts, parts[2].splits.catalogue.rare["photo"])
    expected = calibration.calibrate(scores).max(axis=1)
    # In the order of a sample of the photos.
    np.testing.assert_allclose(np.sort(found.unknown), np.sort(expected), rtol=1e-5)


class ByColour(nn.Module):
    """Takes red for its first class and green for its second, wherever they are."""

    def __init__(self):
        super().__init__()
        self.patches = nn.AvgPool2d(8)
        self.global_pool = SelectAdaptivePool2d(flatten=True)
        self.fc = nn.Linear(3, 2)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[1.0, -1, 0], [-1, 1, 0]]))

    def forward(self, images):
        return self.fc(self.global_pool(self.patches(images)))


def test_a_mistake_is_shown_with_the_maps_and_probabilities_of_both_classes(parts):
    classifier = copy.deepcopy(parts[1])
    classifier.backbone = ByColour()
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[:16, :16, 0] = photo[48:, 48:, 1] = 255
    predictions = Predictions(
        np.array(["7"]), np.float32([[0.75, 0.25]]), np.array([1]), ("Red", "Green")
    )
    catalogue = SimpleNamespace(photos=lambda ids: np.stack([photo] * len(ids)))
    [sheet] = error_analysis.map_sheets(classifier, predictions, catalogue)
    assert sheet.heading == "Green taken for Red"
    captions = [" ".join(caption.split()) for _, caption in sheet.photos]  # spaces that don't break
    assert captions == ["7", "Red 75%", "Green 25%"]
    for (uri, _), bright, dark in zip(sheet.photos[1:], (8, 56), (56, 8), strict=True):
        shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        assert sum(shown.getpixel((bright, bright))) > 2 * sum(shown.getpixel((dark, dark)))


def test_the_unknown_are_the_photos_of_rare_labels_that_can_be_read(parts):
    _, classifier, datamodule = parts
    rare = datamodule.splits.catalogue.rare
    assert rare["label"].tolist() == ["Umbrellas", "Umbrellas"]
    scores = predict_unknown(*parts, rare["photo"])
    assert scores.shape == (2, 3)
    photos = [
        decode_image(datamodule.root.read(name), 48, "squash", "bilinear") for name in rare["photo"]
    ]
    with torch.no_grad():
        batch = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)
        expected = classifier(batch).softmax(dim=1).numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    gone = [rare["photo"].iloc[0], "nowhere.jpg"]
    np.testing.assert_allclose(predict_unknown(*parts, gone), expected[:1], atol=1e-5)
    assert predict_unknown(*parts, gone[1:]) is None
    assert predict_unknown(*parts, []) is None


def test_the_unknown_leave_no_store_in_the_cache(parts):
    datamodule = parts[2]
    before = sorted(datamodule.settings.cache_folder.rglob("*"))
    predict_unknown(*parts, datamodule.splits.catalogue.rare["photo"])
    assert sorted(datamodule.settings.cache_folder.rglob("*")) == before


def test_a_prediction_that_failed_leaves_nothing_to_the_next(parts):
    trainer, classifier, datamodule = parts
    calls = []

    def change(photo):
        calls.append(photo)
        if len(calls) > 17:  # in the second batch
            raise OSError("no photo")
        return photo

    with pytest.raises(OSError, match="no photo"):
        predict_changed(trainer, classifier, datamodule, "train", np.arange(96), [change])
    assert len(predict_split(trainer, classifier, datamodule, "test").targets) == 12


def test_a_sample_depends_on_the_ids_alone():
    rows = pd.DataFrame({"id": [str(i) for i in range(1000)]})
    sample = error_analysis.sample_by_id(rows, 100)
    assert len(set(sample["id"])) == 100
    assert 400 < sample["id"].astype(int).mean() < 600  # not the first ones
    shuffled = rows.sample(frac=1, random_state=0)
    assert set(error_analysis.sample_by_id(shuffled, 100)["id"]) == set(sample["id"])
    fewer = error_analysis.sample_by_id(rows[rows["id"] != sample["id"].iloc[0]], 99)
    assert set(fewer["id"]) == set(sample["id"][1:])
    assert len(error_analysis.sample_by_id(rows[:3], 500)) == 3


def test_changed_photos_cost_as_much_as_is_left():
    for num_predictions in (0, 1, 149, 150, 1000, 4215, 10**6):
        number = error_analysis.num_changed_photos(num_predictions)
        assert number == 0 or 10 <= number <= 500
        assert number * len(CORRUPTIONS) <= num_predictions
    assert error_analysis.num_changed_photos(4215 - 500) == 247


def test_the_most_confident_mistakes_of_a_pair_come_first(parts):
    _, classifier, datamodule = parts
    rows = datamodule.splits.rows("test")
    n = len(rows)
    targets = pd.Categorical(rows["label"], categories=datamodule.splits.class_names).codes
    probabilities = np.full((n, 3), 0.01, np.float32)
    probabilities[:, 1] = np.linspace(0.9, 0.95, n)
    predictions = Predictions(
        rows["id"].to_numpy(dtype=str),
        probabilities,
        targets.astype(np.int64),
        tuple(datamodule.splits.class_names),
    )
    photos = rows.set_index("id")["photo"]
    sheets = error_analysis.pair_sheets(predictions, datamodule, photos, Gallery(datamodule.root))
    assert len(sheets) == 2  # two of three classes are always mistaken
    for sheet in sheets:
        shown = [caption.split(":")[0] for _, caption in sheet.photos]
        assert shown == sorted(shown, key=list(predictions.image_ids).index, reverse=True)
        assert all(uri.startswith("data:image/jpeg;base64,") for uri, _ in sheet.photos)
    maps = error_analysis.map_sheets(classifier, predictions, datamodule)
    assert [len(sheet.photos) for sheet in maps] == [3] * min(12, int((targets != 1).sum()))
    right = np.eye(3, dtype=np.float32)[targets]
    perfect = Predictions(
        predictions.image_ids, right, predictions.targets, predictions.class_names
    )
    assert error_analysis.map_sheets(classifier, perfect, datamodule) == []
    assert error_analysis.pair_sheets(perfect, datamodule, photos, Gallery(datamodule.root)) == []
