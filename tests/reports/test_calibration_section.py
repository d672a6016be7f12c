from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fashion.metrics.calibration import (
    Calibration,
    calibration_error,
    reliability_table,
    risk_coverage,
)
from fashion.metrics.predictions import Predictions
from fashion.reports import calibration_section
from fashion.reports.error_analysis import ErrorAnalysis


@pytest.fixture
def predictions():
    """Four photos, three of them right, with confidences of 0.9."""
    probabilities = np.float32([[0.9, 0.1]] * 4)
    return Predictions(np.array(list("abcd")), probabilities, np.array([0, 0, 0, 1]), ("A", "B"))


def test_the_errors_before_and_after_are_told_apart(predictions):
    calibration = Calibration(2.0, np.float32([0.75]), np.array([True]))
    errors = calibration_section.facts(predictions, ErrorAnalysis(calibration))["calibration"]
    assert errors["temperature"] == 2
    assert errors["error_before"] == pytest.approx(0.9 - 0.75)
    # The root of odds of 9 to 1 is 3 to 1.
    assert errors["error_after"] == pytest.approx(0, abs=1e-6)
    calibrated = calibration.calibrate(predictions.probabilities)
    assert errors["error_after"] == calibration_error(calibrated, predictions.targets)


@pytest.mark.parametrize("temperature", [None, 0.6, 1.7])
def test_confidences_alone_make_the_tables_of_all_probabilities(temperature):
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.full(5, 0.4), 300).astype(np.float32)
    probabilities[:20] = probabilities[20:40]  # ties
    ids, targets = np.arange(300).astype(str), generator.integers(0, 5, 300)
    predictions = Predictions(ids, probabilities, targets, tuple("abcde"))
    calibration = Calibration(1.7, np.float32([0.75]), np.array([True]))
    analysis = ErrorAnalysis(calibration)
    tables = calibration_section.tables(replace(predictions, temperature=temperature), analysis)
    scaled = calibration.calibrate(probabilities)
    pd.testing.assert_frame_equal(
        tables["reliability_after"], reliability_table(scaled, targets), check_exact=True
    )
    pd.testing.assert_frame_equal(
        tables["risk_coverage"],
        risk_coverage(scaled.max(axis=1), scaled.argmax(axis=1) == targets),
        check_exact=True,
    )


def test_of_many_confidences_some_are_tabulated(predictions, monkeypatch):
    monkeypatch.setattr(calibration_section, "ROWS", 3)
    highest = np.linspace(0.6, 0.9, 100, dtype=np.float32)
    many = Predictions(
        np.arange(100).astype(str),
        np.stack([highest, 1 - highest], axis=1),
        np.zeros(100, np.int64),
        ("A", "B"),
        temperature=1.0,
    )
    analysis = ErrorAnalysis(Calibration(1.0, np.float32([0.75]), np.array([True])))
    curve = calibration_section.tables(many, analysis)["risk_coverage"]
    assert curve["coverage"].tolist() == [0.01, 0.5, 1.0]
