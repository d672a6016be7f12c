from dataclasses import replace

import numpy as np
import pytest

from fashion.metrics.predictions import (
    Predictions,
    confused_pairs,
    confusion_counts,
    mean_predictions,
    per_class_table,
    score_predictions,
)

COUNTS = np.array([[5, 2, 1], [0, 4, 0], [3, 1, 6]])
ABC = ("Bags", "Caps", "Shoes")


@pytest.fixture
def predictions(from_counts):
    return from_counts(COUNTS, ABC)


def test_confused_pairs_are_ranked_by_count_then_by_class(predictions):
    assert confusion_counts(predictions).tolist() == COUNTS.tolist()
    assert confused_pairs(predictions).to_dict("list") == {
        "true": ["Shoes", "Bags", "Bags", "Shoes"],
        "predicted": ["Bags", "Caps", "Shoes", "Caps"],
        "count": [3, 2, 1, 1],
        "share": [3 / 10, 2 / 8, 1 / 8, 1 / 10],
    }
    assert confused_pairs(predictions, top=2)["count"].tolist() == [3, 2]


def test_no_mistake_makes_no_pair(from_counts):
    pairs = confused_pairs(from_counts(np.eye(3, dtype=int), ABC))
    assert list(pairs.columns) == ["true", "predicted", "count", "share"]
    assert pairs.empty


def test_the_table_has_one_row_per_class_in_their_order(predictions):
    table = per_class_table(predictions)
    assert table["class"].tolist() == list(ABC)
    assert table["precision"].tolist() == pytest.approx([5 / 8, 4 / 7, 6 / 7])
    assert table["recall"].tolist() == pytest.approx([5 / 8, 1, 6 / 10])
    assert table["support"].tolist() == [8, 4, 10]


def test_saved_predictions_come_back(predictions, tmp_path):
    predictions.save(tmp_path / "predictions.npz")
    loaded = Predictions.load(tmp_path / "predictions.npz")
    assert loaded.class_names == ABC
    for name in ("image_ids", "probabilities", "targets"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(predictions, name))
        assert getattr(loaded, name).dtype == getattr(predictions, name).dtype
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_ids": np.array(["1"])}, r"image_ids has shape \(1,\)"),
        (
            {"probabilities": np.full((22, 2), 0.5, np.float32)},
            r"probabilities has shape \(22, 2\)",
        ),
        ({"probabilities": np.full((22, 3), np.nan, np.float32)}, "diverged"),
        ({"probabilities": np.ones((22, 3), np.int64)}, "probabilities are of type int64"),
        ({"targets": np.full(22, 3)}, "3 classes allow 0 to 2"),
        ({"targets": np.full(22, -1)}, "targets run from -1"),
        ({"targets": np.zeros(22)}, "targets are of type float64"),
        ({"class_names": np.array(["Bags", "Caps", "Bags"])}, "no class twice"),
        ({"image_ids": np.array([str(i) for i in range(22)], dtype=object)}, "pickle"),
        ({"targets": None}, "targets"),
    ],
)
def test_faulty_predictions_are_refused_with_the_file_and_the_reason(
    predictions, tmp_path, change, message
):
    predictions.save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as file:
        arrays = {**file, **change}
    np.savez(tmp_path / "bad.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(ValueError, match=rf"bad\.npz holds no predictions.*{message}"):
        Predictions.load(tmp_path / "bad.npz")


@pytest.mark.parametrize("size", [0, 20, 200, 400])
def test_a_damaged_file_is_refused(predictions, tmp_path, size):
    path = tmp_path / "predictions.npz"
    predictions.save(path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="holds no predictions"):
        Predictions.load(path)


def test_a_file_with_a_flipped_byte_is_refused(predictions, tmp_path):
    path = tmp_path / "predictions.npz"
    predictions.save(path)
    content = bytearray(path.read_bytes())
    content[100] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="holds no predictions"):
        Predictions.load(path)


def test_a_missing_file_is_called_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Predictions.load(tmp_path / "predictions.npz")


def test_a_failed_save_leaves_the_old_file(predictions, tmp_path, monkeypatch):
    path = tmp_path / "predictions.npz"
    predictions.save(path)
    before = path.read_bytes()

    def fail(file, **_):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        predictions.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_temperature_and_twins_come_back(predictions, tmp_path):
    twins = np.arange(22) % 2 == 0
    known = replace(predictions, has_twin=twins, temperature=0.7)
    known.save(tmp_path / "predictions.npz")
    loaded = Predictions.load(tmp_path / "predictions.npz")
    assert loaded.temperature == 0.7
    np.testing.assert_array_equal(loaded.has_twin, twins)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_a_temperature_that_is_none_is_refused(predictions, temperature):
    with pytest.raises(ValueError, match="the temperature is"):
        replace(predictions, temperature=temperature)


def test_in_the_order_of_the_ids_each_row_stays_whole(predictions):
    order = np.random.default_rng(0).permutation(22)
    shuffled = Predictions(
        predictions.image_ids[order],
        predictions.probabilities[order],
        predictions.targets[order],
        ABC,
        has_twin=order < 11,
    )
    back = shuffled.sorted_by_id()
    assert back.image_ids.tolist() == predictions.image_ids.tolist()
    np.testing.assert_array_equal(back.probabilities, predictions.probabilities)
    np.testing.assert_array_equal(back.targets, predictions.targets)
    np.testing.assert_array_equal(back.has_twin, np.arange(22) < 11)


def test_the_mean_of_models_is_of_their_calibrated_probabilities():
    ids, targets = np.array(["a", "b"]), np.array([0, 1])
    first = Predictions(ids, np.array([[0.8, 0.2], [0.8, 0.2]], np.float32), targets, ("x", "y"))
    second = Predictions(
        ids, np.array([[0.6, 0.4], [0.1, 0.9]], np.float32), targets, ("x", "y"), temperature=0.5
    )
    mean = mean_predictions([first, second])
    squared = np.array([[0.36, 0.16], [0.01, 0.81]])  # softmax(log p / 0.5) goes as p squared
    expected = (first.probabilities + squared / squared.sum(axis=1, keepdims=True)) / 2
    np.testing.assert_allclose(mean.probabilities, expected, rtol=1e-6)
    assert mean.temperature is None
    assert score_predictions(mean)["accuracy"] == mean.hits().mean() == 1
