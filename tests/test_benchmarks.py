"""The benchmarks' arithmetic and what the documentation tells of them; nothing is timed here."""

import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import train
from fashion.metrics.predictions import Predictions

ROOT = Path(train.__file__).parent
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def training():
    return importlib.import_module("training")


@pytest.fixture
def results():
    return json.loads((BENCHMARKS / "results.json").read_text())


def test_the_documentation_has_the_table_of_the_results(training, results):
    assert training.table(results) in (ROOT / "docs" / "measurements.md").read_text()


def test_the_documentation_has_the_table_of_the_measured_coverage():
    coverage = importlib.import_module("interval_coverage")
    results = json.loads((BENCHMARKS / "interval_coverage.json").read_text())
    assert coverage.table(results).strip() in (ROOT / "docs" / "compare.md").read_text()


def test_the_documentation_has_the_table_of_how_paths_grow():
    scale = importlib.import_module("scale")
    results = json.loads((BENCHMARKS / "scale.json").read_text())
    assert scale.table(results).strip() in (ROOT / "docs" / "scale.md").read_text()


def test_the_rates_of_jobs_are_those_measured():
    told = (ROOT / "docs" / "scale.md").read_text()
    results = json.loads((BENCHMARKS / "jobs.json").read_text())
    rates, shares = results["photos_per_second"], results["to_predict"]
    assert results["equal_csv"]
    assert f"| `fashion predict` | {rates['predict']} | |" in told
    assert f"| `fashion label` | {rates['local']} | {shares['local']} |" in told
    assert f"| `fashion label engine=ray` | {rates['ray']} | {shares['ray']} |" in told
    assert f"{results['photos']:,} photos" in told


def test_the_documentation_has_the_table_of_labelling():
    labelling = importlib.import_module("labelling")
    rows = json.loads((BENCHMARKS / "labelling.json").read_text())
    assert labelling.table(rows).strip() in (ROOT / "docs" / "bundle.md").read_text()


def test_the_growth_of_a_path_is_read_from_its_two_largest_rows():
    scale = importlib.import_module("scale")
    sizes = [(10, 1.0, False), (100, 4.0, False), (1_000, 400.0, False), (10_000, 1.0, True)]
    rows = [{"photos": n, "seconds": s, "extrapolated": e} for n, s, e in sizes]
    assert scale.exponent(rows, "photos") == pytest.approx(2)
    assert scale.exponent(rows[:1], "photos") is None


def test_a_size_is_extrapolated_from_the_two_before_it():
    scale = importlib.import_module("scale")
    sizes = [(10, 1.0, 300), (100, 4.0, 500), (1_000, 400.0, 1_000)]
    rows = [
        {"path": "twins", "photos": n, "seconds": s, "peak_mb": mb, "extrapolated": False}
        for n, s, mb in sizes
    ]
    assert scale.extrapolated(rows, scale.Size("twins", 10_000, 54)) == pytest.approx(
        (40_000, 2_000)
    )
    assert scale.extrapolated(rows[1:], scale.Size("twins", 1_000, 54)) is None
    assert scale.extrapolated(rows, scale.Size("store", 10_000, 54)) is None


def test_the_ratios_of_the_results_follow_from_their_measurements(training, results):
    assert list(results["models"]) == training.MODELS
    for figures in results["models"].values():
        lines, machine = figures.pop("lines"), figures.pop("machine")
        assert training.ratios(lines, machine["memory_gb"]) == figures
    assert training.six_run_ratio(results["models"]) == results["six_run_ratio"]


def test_the_best_setting_is_compared_with_the_best_by_medians(training):
    def keras(rate, *, jit, precision="mixed_bfloat16"):
        line = {"images_per_second": rate, "precision": precision, "jit": jit}
        return line | {"evaluate_images_per_second": 3 * rate}

    def own(rate, *, compiled, precision="bf16-mixed"):
        line = {"images_per_second": rate, "precision": precision, "compile": compiled}
        return line | {"compile_seconds": 100}

    def store(rate):
        line = {"images_per_second": rate, "cold_images_per_second": rate / 2}
        line |= {"precision": "bf16-mixed", "compile": True, "photos": 512, "peak_mib": int(rate)}
        line |= {"fill_photos_per_second": 50, "evaluate_images_per_second": 2 * rate}
        return line | {"bytes_per_photo": 1_000_000}

    lines = {
        # One process of the slower setting was lucky, and one of the faster was not.
        "keras": [
            keras(33, jit=True),
            keras(20, jit=True),
            keras(10, jit=True),
            keras(30, jit=False),
            keras(32, jit=False),
            keras(5, jit=False),
            keras(16, jit=False, precision="float32"),
        ],
        "ordinary": [
            own(45, compiled=True),
            own(40, compiled=False),
            own(24, compiled=True, precision="32-true"),
        ],
        "plain": [{"images_per_second": 9, "precision": "32-true"}],
        "store": [store(200), store(300), store(250)],
    }
    figures = training.ratios(lines, memory_gb=100)
    assert figures["keras"] == {"precision": "mixed_bfloat16", "jit": False}
    assert figures["own"] == {"precision": "bf16-mixed", "compile": True}
    assert figures["keras_images_per_second"] == 30
    assert figures["ordinary_ratio"] == 1.5
    assert figures["ordinary_ratio_float32"] == 1.5
    assert figures["plain_ratio"] == 5
    assert figures["store_epoch_ratio"] == round(250 / 45, 2)
    assert figures["store_epoch_ratio_cold"] == round(125 / 45, 2)
    assert figures["peak_mib"] == 300
    train, val = 33_720, 4_215
    keras_run = 30 * (train / 30 + val / 90)
    assert figures["keras_run_seconds"] == round(keras_run)
    for key, views, speed in (("run_ratio", 1, 250), ("run_ratio_4_views", 4, 125)):
        epochs = 30 * (train / speed + val / 500)
        own_run = 100 + (views * train + val) / 50 + epochs  # four views exceed the memory
        assert figures[key] == round(keras_run / own_run, 2)
    assert figures["store_gigabytes"] == round((train + val) / 1000, 1)


@pytest.fixture
def corrections():
    return importlib.import_module("corrections")


def test_the_documentation_has_the_tables_of_corrections(corrections):
    results = json.loads((BENCHMARKS / "corrections.json").read_text())
    assert corrections.describe(results).strip() in (ROOT / "docs" / "tool.md").read_text()


def drawn_predictions(seed, share_right, num_photos=900):
    """Predictions of three classes, of which a share is right and told so by their confidence."""
    drawn = np.random.default_rng(seed)
    targets = drawn.integers(0, 3, num_photos)
    confidences = np.clip(drawn.beta(20 * share_right, 20 * (1 - share_right), num_photos), 0.4, 1)
    best = np.where(drawn.random(num_photos) < confidences, targets, (targets + 1) % 3)
    probabilities = np.repeat((1 - confidences)[:, None] / 2, 3, axis=1)
    probabilities[np.arange(num_photos), best] = confidences
    ids = np.array([f"{place:04}" for place in range(num_photos)])
    return Predictions(ids, probabilities.astype(np.float32), targets, ("a", "b", "c"))


def test_the_gain_of_corrections_has_an_interval_of_pairs(corrections, monkeypatch):
    monkeypatch.setattr(corrections, "RESAMPLES", 200)
    worse, better = drawn_predictions(0, 0.7), drawn_predictions(0, 0.9)
    found = corrections.gain([worse], [better])["accuracy"]
    assert found["gain"] == pytest.approx(better.hits().mean() - worse.hits().mean())
    assert 0 < found["low"] < found["gain"] < found["high"]
    nothing = corrections.gain([worse, better], [worse, better])["accuracy"]
    assert (nothing["gain"], nothing["low"], nothing["high"]) == (0, 0, 0)


def test_months_count_how_often_an_interval_holds_their_precision(corrections, monkeypatch):
    monkeypatch.setattr(corrections, "MONTHS", 30)
    monkeypatch.setattr(corrections, "RATES", (0.2,))
    rows = corrections.months(drawn_predictions(1, 0.9, 6_000), 0.9)
    assert {row["interval"] for row in rows} == {*corrections.INTERVALS}
    assert all(25 <= row["held"] <= row["months"] == 30 for row in rows)


def test_half_of_the_training_photos_are_served(corrections, tiny_root, tmp_path):
    corrections.make_catalogues(tmp_path, str(tiny_root), min_images=20)
    base, served = (pd.read_csv(tmp_path / name / "styles.csv") for name in ("base", "served"))
    assert set(base["split"]) == {"train", "val", "test"}
    assert set(served["split"]) == {"train"}
    assert (len(base) + len(served), (base["split"] != "train").sum()) == (120, 24)
    assert 30 < len(served) < 66
    assert (tmp_path / "served" / "images" / f"{served['id'].iloc[0]}.jpg").is_file()
