import numpy as np
import pytest
import torch
from scipy import special

from fashion.metrics import scaling
from fashion.metrics.calibration import risk_coverage
from fashion.metrics.scaling import (
    Calibration,
    confidences_at,
    count_accepted,
    log_softmax,
    mean_probabilities,
    scale,
)


def test_the_log_softmax_is_that_of_scipy_to_the_last_digit():
    logits = np.random.default_rng(0).normal(scale=30, size=(500, 54))
    assert (log_softmax(logits) == special.log_softmax(logits, axis=1)).all()


def test_images_of_equal_confidence_are_counted_together():
    confidences = np.float32([0.5, 0.9, 0.5, 0.75, 0.5])
    hits = np.array([True, True, False, False, True])
    counts = count_accepted(confidences, hits)
    assert counts.thresholds.tolist() == [np.float32(0.9), 0.75, 0.5]
    assert counts.accepted.tolist() == [1, 2, 5]
    assert counts.right.tolist() == [1, 1, 3]
    table = risk_coverage(confidences, hits)
    assert (table["coverage"] == counts.accepted / 5).all()
    assert (table["precision"] == counts.right / counts.accepted).all()


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_a_state_may_hold_arrays_or_tensors(kind):
    confidences, hits = np.float32([0.5, 0.9]), np.array([False, True])
    state = {"temperature": 2.0, "confidences": kind(confidences), "hits": kind(hits)}
    calibration = Calibration.from_state(state)
    assert calibration.confidences.tolist() == confidences.tolist()
    assert calibration.hits.tolist() == hits.tolist()
    assert calibration.threshold(1.0) == np.float32(0.9)


def test_the_mean_is_summed_in_float64():
    parts = [np.full((1, 1), value, np.float32) for value in (1, 2**-24, 2**-24)]
    mean = mean_probabilities(parts)
    assert mean.dtype == np.float32
    assert mean[0, 0] == np.float32((1 + 2**-23) / 3)


@pytest.mark.parametrize("block", [1, 700, 10**6])
def test_the_size_of_the_blocks_changes_nothing(block, monkeypatch):
    probabilities = special.softmax(np.random.default_rng(0).normal(size=(300, 7)), axis=1)
    probabilities = probabilities.astype(np.float32)
    whole, squared = scale(probabilities, 1.7), scale(probabilities, 0.5)
    mean = mean_probabilities([whole, squared])
    monkeypatch.setattr(scaling, "BLOCK", block)
    assert (scale(probabilities, 1.7) == whole).all()
    assert (confidences_at(1.7, probabilities) == whole.max(axis=1)).all()
    assert (mean_probabilities([whole, squared]) == mean).all()
