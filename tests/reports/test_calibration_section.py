import numpy as np
import pytest

from fashion.metrics.calibration import Calibration, calibration_error
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
