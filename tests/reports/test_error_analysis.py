import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from PIL import Image

from fashion.commands.evaluate import evaluate
from fashion.data.datamodule import FashionDataModule
from fashion.data.settings import DataSettings
from fashion.labelling.predict import load_calibration, load_classifier
from fashion.metrics.calibration import Calibration
from fashion.metrics.predictions import Predictions
from fashion.models import checkpoints
from fashion.reports import examine
from fashion.reports.corruptions import CORRUPTIONS
from fashion.training.inference import predict_changed, predict_split, predict_unknown


@pytest.fixture(scope="module")
def parts(run_dir):
    """A trainer, the finished run's model and its catalogue."""
    checkpoint = checkpoints.read(run_dir / "checkpoints" / "best.ckpt")
    settings = DataSettings.from_config(checkpoint["run"]["config"]["data"])
    datamodule = FashionDataModule(settings, input_size=48, interpolation="bilinear", seed=0)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        accelerator="cpu", use_distributed_sampler=False, enable_model_summary=False, **quiet
    )
    datamodule.trainer = trainer
    datamodule.setup()
    return trainer, load_classifier(checkpoint), datamodule


def test_the_calibration_in_the_checkpoint_is_that_of_the_validation_split(run_dir, parts):
    validated = Predictions.load(run_dir / "predictions-val.npz")
    tested = Predictions.load(run_dir / "predictions.npz")
    splits = pd.read_csv(run_dir / "splits.csv", dtype=str)
    assert set(validated.image_ids) == set(splits[splits["split"] == "val"]["id"])
    kept = load_calibration(checkpoints.read(run_dir / "checkpoints" / "best.ckpt"))
    expected = Calibration.fit(validated.probabilities, validated.targets)
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
    table = examine.measure_robustness(*parts, predictions, "test", 6)
    assert len(table) == 1 + len(CORRUPTIONS)
    assert (table["support"] == 6).all()
    again = examine.measure_robustness(*parts, predictions, "test", 6)
    pd.testing.assert_frame_equal(table, again)
    every = examine.measure_robustness(*parts, predictions, "test", 10**6)
    assert every.loc[0, "accuracy"] == predictions.hits().mean()


def test_the_unknown_are_the_photos_of_rare_labels(parts):
    trainer, classifier, datamodule = parts
    rare = datamodule.splits.catalogue.rare
    assert rare["label"].tolist() == ["Umbrellas", "Umbrellas"]
    found = predict_unknown(trainer, classifier, datamodule)
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_a_catalogue_without_rare_labels_has_no_unknown(write_catalogue, tmp_path, parts):
    trainer, classifier, datamodule = parts
    rows = [{"id": str(i), "articleType": ("Shirts", "Jeans")[i % 2]} for i in range(40)]
    root = write_catalogue(tmp_path / "plain", rows)
    settings = replace(datamodule.settings, root=str(root), cache_dir=str(tmp_path / "cache"))
    other = FashionDataModule(settings, input_size=48, interpolation="bilinear", seed=0)
    other.trainer = trainer
    other.setup()
    assert predict_unknown(trainer, classifier, other) is None


class Photos:
    """Stands in for a catalogue's folder: photos of planted sizes."""

    def __init__(self, sizes):
        self.sizes = sizes

    def read(self, name):
        content = io.BytesIO()
        Image.new("RGB", self.sizes[name]).save(content, "PNG")
        return content.getvalue()


def made_up(hits):
    n = len(hits)
    probabilities = np.full((n, 2), 0.1, np.float32)
    probabilities[np.arange(n), np.where(hits, 0, 1)] = 0.9
    return Predictions(np.array([str(i) for i in range(n)]), probabilities, np.zeros(n, int), "ab")


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ([80] * 8, [("80", 0.5, 8)]),
        (
            [10, 20, 30, 40, 50, 60, 70, 80],
            [
                ("10 to 20", 0.5, 2),
                ("30 to 40", 0.5, 2),
                ("50 to 60", 0.5, 2),
                ("70 to 80", 0.5, 2),
            ],
        ),
        ([80] * 7 + [2400], [("80", 4 / 7, 7), ("2,400", 0.0, 1)]),
    ],
)
def test_the_accuracy_is_told_by_the_size_of_the_files(sides, expected):
    predictions = made_up([True, False] * 4)
    names = pd.Series({str(i): str(i) for i in range(8)})
    root = Photos({str(i): (side, 5) for i, side in enumerate(sides)})
    table = examine.accuracy_by_size(predictions, root, names)
    assert table["support"].sum() == 8
    assert list(table.itertuples(index=False, name=None)) == expected


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
    sheets = examine.pair_sheets(predictions, datamodule.root, photos)
    assert len(sheets) == 2  # two of three classes are always mistaken
    for sheet in sheets:
        shown = [caption.split(":")[0] for _, caption in sheet.photos]
        assert shown == sorted(shown, key=list(predictions.image_ids).index, reverse=True)
        assert all(uri.startswith("data:image/jpeg;base64,") for uri, _ in sheet.photos)
    maps = examine.map_sheets(classifier, predictions, datamodule)
    assert [len(sheet.photos) for sheet in maps] == [3] * min(12, int((targets != 1).sum()))
    right = np.eye(3, dtype=np.float32)[targets]
    perfect = Predictions(
        predictions.image_ids, right, predictions.targets, predictions.class_names
    )
    assert examine.map_sheets(classifier, perfect, datamodule) == []
    assert examine.pair_sheets(perfect, datamodule.root, photos) == []
