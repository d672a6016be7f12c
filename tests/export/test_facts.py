import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fashion.bundles.bundle_files import BundleFiles
from fashion.export.facts import (
    MOST_ANSWERED,
    Source,
    _thinned,
    calibrated,
    measured,
    predictions_of,
    thresholds,
    training,
)
from fashion.metrics.intervals import wilson
from fashion.metrics.predictions import Predictions, score_predictions
from fashion.metrics.scaling import Answered, choose_threshold
from fashion.models import checkpoints


def source(path):
    return Source(path, checkpoints.read(path))


@pytest.fixture
def best(run_dir):
    return source(run_dir / "checkpoints" / "best.ckpt")


def test_figures_are_those_of_the_run_with_their_intervals(run_dir, bundle, from_counts):
    predictions = Predictions.load(run_dir / "predictions.npz")
    metrics = BundleFiles(bundle).manifest.facts["metrics"]
    for name, value in score_predictions(predictions).items():
        assert metrics[name]["value"] == pytest.approx(value, abs=5e-5)
        assert metrics[name]["low"] <= metrics[name]["value"] <= metrics[name]["high"]
    told = measured(from_counts([[40, 2], [5, 33]], ["a", "b"]))
    assert (told["photos"], told["accuracy"]["value"]) == (80, 0.9125)
    low, high = wilson(0.9125, 80)
    assert (told["accuracy"]["low"], told["accuracy"]["high"]) == (round(low, 4), round(high, 4))


def test_twins_are_left_out_where_they_are_known(from_counts):
    predictions = from_counts([[8, 2], [0, 10]], ["a", "b"])
    assert "without_twins" not in measured(predictions)
    has_twin = np.arange(20) < 8  # all of them right
    told = measured(replace(predictions, has_twin=has_twin))["without_twins"]
    assert (told["photos"], told["accuracy"]["value"]) == (12, round(10 / 12, 4))


def test_predictions_by_another_checkpoint_are_no_figures(run_dir, best, tmp_path):
    assert predictions_of([best], "test") is not None
    assert predictions_of([source(run_dir / "checkpoints" / "last.ckpt")], "test") is None
    copy = tmp_path / "run" / "checkpoints" / "best.ckpt"
    copy.parent.mkdir(parents=True)
    shutil.copy(best.path, copy)
    assert predictions_of([source(copy)], "test") is None  # its folder has none
    predictions = Predictions.load(run_dir / "predictions.npz")
    replace(predictions, temperature=1.5).save(tmp_path / "run" / "predictions.npz")
    assert predictions_of([source(copy)], "test") is None
    predictions.save(tmp_path / "run" / "predictions.npz")
    assert predictions_of([source(copy)], "test") is not None
    (tmp_path / "run" / "predictions.npz").write_bytes(b"damaged")
    assert predictions_of([source(copy)], "test") is None


def test_of_several_checkpoints_the_figures_are_of_their_mean(best, run_dir):
    one, both = predictions_of([best], "test"), predictions_of([best, best], "test")
    order = np.argsort(one.image_ids)
    np.testing.assert_array_equal(both.image_ids, one.image_ids[order])
    np.testing.assert_allclose(both.probabilities, one.calibrated()[order], atol=1e-6)
    calibration = calibrated([best, best])
    assert (calibration.temperature, calibration.photos) == (None, 12)
    np.testing.assert_allclose(calibration.curve, calibrated([best]).curve, atol=1e-6)


def test_thresholds_are_those_of_the_checkpoint(best, write_checkpoint, tmp_path):
    calibration = calibrated([best])
    model = checkpoints.read(best.path)["calibration"]
    assert calibration.temperature == model["temperature"]
    told = thresholds(calibration)
    assert [*told] == ["0.95", "0.98", "0.99"]
    for precision, threshold in told.items():
        assert threshold == calibration.threshold(float(precision))
    never = calibrated([source(write_checkpoint(tmp_path / "best.ckpt"))])
    assert (never.temperature, never.photos, thresholds(never)) == (1.0, 0, {})


def test_a_long_curve_is_thinned_and_keeps_what_the_usual_precisions_need():
    precisions = np.linspace(0.5, 0.9876543, 12_345)
    coverages = np.linspace(1, 0.1, 12_345)
    curve = [Answered(p / 2, p, c) for p, c in zip(precisions, coverages, strict=True)]
    thin = _thinned(curve)
    assert MOST_ANSWERED / 2 < len(thin) < MOST_ANSWERED + 5
    assert (thin[0], thin[-1]) == (curve[0], curve[-1])
    assert [*thin] == sorted(thin)
    for precision in (0.95, 0.98):
        assert choose_threshold(thin, precision) == choose_threshold(curve, precision)
    assert _thinned(curve[:30]) == tuple(curve[:30])


def test_training_is_told_without_any_path(best, run_dir, tiny_root):
    told = training(best)
    config = best.checkpoint["run"]["config"]
    assert told["run"] == run_dir.name
    assert told["backbone"] == "test_resnet"
    assert told["weights"] == "random numbers"
    assert told["photos"] == 96
    assert told["epochs"] in (1, 2)
    assert told["split_sha256"] == best.checkpoint["FashionDataModule"]["splits_sha256"]
    assert len(told["config_sha256"]) == 64
    assert not told["drawn_sample"]
    for place in (tiny_root, run_dir, config["output_dir"]):
        assert str(place) not in json.dumps(told)


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        ({"weights": "/home/me/weights/resnet50.safetensors"}, "resnet50.safetensors"),
        ({"weights": None, "pretrained": True}, "timm's test_resnet"),
        ({"weights": None, "pretrained": False}, "random numbers"),
        (None, None),
    ],
)
def test_what_the_training_began_with_is_told(model, weights, best):
    config = {"model": model, "data": {"root": None}} if model else {}
    told = training(best._replace(checkpoint={**best.checkpoint, "run": {"config": config}}))
    assert told["weights"] == weights
    assert told["drawn_sample"] == bool(model)
