import time

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from fashion.metrics import metrics
from fashion.metrics.metrics import (
    class_curves,
    classification_metrics,
    per_class_metrics,
    pooled_curve,
    precision_recall_curve,
)


def draw(n, k, seed, levels=None):
    """Draw probabilities that know a little of the targets; `levels` rounds them into ties."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, k, (n,), generator=generator)
    logits = torch.randn(n, k, generator=generator)
    logits[torch.arange(n), targets] += 1.5
    probabilities = logits.softmax(dim=1)
    if levels:
        probabilities = (probabilities * levels).round() / levels
    return probabilities, targets


CASES = {
    "plain": draw(400, 7, seed=0),
    "ties": draw(400, 7, seed=1, levels=10),
    "more ties": draw(300, 5, seed=2, levels=2),
    "two classes": draw(200, 2, seed=3),
    "two classes, ties": draw(200, 2, seed=4, levels=4),
    "absent classes": draw(12, 30, seed=5),
    "one image": draw(1, 3, seed=6),
    "one class only": (draw(50, 4, seed=7)[0], torch.full((50,), 2)),
    "constant predictor": (torch.tensor([[0.5, 0.3, 0.2]]).repeat(60, 1), torch.arange(60) % 3),
    "uniform predictor": (torch.full((60, 4), 0.25), torch.arange(60) % 3),
    "perfect": (torch.eye(5)[torch.arange(40) % 5], torch.arange(40) % 5),
    "float16": (draw(300, 6, seed=8)[0].half(), draw(300, 6, seed=8)[1]),
    "the study's size": draw(4215, 54, seed=9),
}


@pytest.mark.parametrize("case", CASES)
def test_the_headline_metrics_are_scikit_learns(case, scikit_learn_metrics):
    probabilities, targets = CASES[case]
    expected = scikit_learn_metrics(probabilities.double().numpy(), targets.numpy())
    assert classification_metrics(probabilities, targets) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_scores_of_each_class_are_scikit_learns(case):
    probabilities, targets = CASES[case]
    scores, truth = probabilities.double().numpy(), targets.numpy()
    classes = range(scores.shape[1])
    expected = precision_recall_fscore_support(
        truth, scores.argmax(axis=1), labels=classes, zero_division=0
    )
    measured = per_class_metrics(probabilities, targets)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(measured[name], values, atol=1e-6)
    precisions = [
        average_precision_score(truth == k, scores[:, k]) if (truth == k).any() else np.nan
        for k in classes
    ]
    np.testing.assert_allclose(measured["average_precision"], precisions, atol=1e-6)


def test_random_ties_and_absent_classes_are_scikit_learns(scikit_learn_metrics):
    for seed in range(40):
        probabilities, targets = draw(30 + seed, 2 + seed % 9, seed=100 + seed, levels=1 + seed % 7)
        expected = scikit_learn_metrics(probabilities.double().numpy(), targets.numpy())
        assert classification_metrics(probabilities, targets) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("slip", [1e-6, -1e-6])
def test_probabilities_just_outside_the_unit_interval_are_not_taken_for_logits(
    slip, scikit_learn_metrics
):
    probabilities, targets = draw(300, 6, seed=10, levels=20)
    probabilities[0, 0] = max(0.0, slip) + (slip > 0)
    probabilities[1, 1] = min(0.0, slip)
    probabilities[2] += slip
    expected = scikit_learn_metrics(probabilities.double().numpy(), targets.numpy())
    assert classification_metrics(probabilities, targets) == pytest.approx(expected, abs=1e-6)


def test_an_absent_class_has_no_average_precision_and_counts_as_zero_in_macro_f1():
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]])
    targets = torch.tensor([0, 1])
    per_class = per_class_metrics(probabilities, targets)
    assert per_class["average_precision"].isnan().tolist() == [False, False, True]
    expected = {"accuracy": 1, "macro_f1": 2 / 3, "macro_auprc": 1}
    assert classification_metrics(probabilities, targets) == pytest.approx(expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_model_has_no_metrics(value):
    probabilities, targets = draw(20, 3, seed=11)
    probabilities[4, 1] = value
    assert all(np.isnan(list(classification_metrics(probabilities, targets).values())))


def test_the_metrics_are_the_same_with_deterministic_algorithms():
    probabilities, targets = CASES["ties"]
    expected = classification_metrics(probabilities, targets)
    torch.use_deterministic_algorithms(True)
    try:
        assert classification_metrics(probabilities, targets) == expected
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_curve_runs_from_full_recall_to_none():
    scores = np.array([0.9, 0.8, 0.8, 0.3, 0.1])
    positives = np.array([True, False, True, True, False])
    precision, recall = precision_recall_curve(scores, scores[positives])
    assert recall.tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert precision.tolist() == pytest.approx([3 / 4, 2 / 3, 1, 1])


def test_the_number_of_threads_is_left_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        classification_metrics(*CASES["plain"])
        with pytest.raises(ValueError, match="same shape"):
            per_class_metrics(CASES["plain"][0], torch.tensor([99]))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_an_epoch_of_the_study_takes_less_than_a_second():
    probabilities, targets = CASES["the study's size"]
    seconds = []
    for _ in range(5):
        start = time.process_time()  # whatever else keeps the cores busy
        classification_metrics(probabilities, targets)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1


@pytest.mark.parametrize("block", [1, 100, 2000])
@pytest.mark.parametrize("case", ["ties", "absent classes", "two classes", "float16"])
def test_the_size_of_the_blocks_changes_no_figure(case, block, monkeypatch):
    probabilities, targets = CASES[case]
    expected = per_class_metrics(probabilities, targets)
    scores = probabilities.float().numpy()
    curves = [*class_curves(scores, targets.numpy()), pooled_curve(scores, targets.numpy())]
    monkeypatch.setattr(metrics, "BLOCK", block)
    monkeypatch.setattr(metrics, "CACHE_LINE", 2)
    for name, values in per_class_metrics(probabilities, targets).items():
        np.testing.assert_array_equal(values, expected[name])
    again = [*class_curves(scores, targets.numpy()), pooled_curve(scores, targets.numpy())]
    for curve, before in zip(again, curves, strict=True):
        assert (curve is None) == (before is None)
        if curve:
            np.testing.assert_array_equal(curve, before)


def test_scores_that_float32_could_not_rank_are_told_apart():
    """More places than float32 has whole numbers, which is where ranks would collide."""
    n = 2**24 + 3
    scores = np.arange(n, dtype=np.float64)
    precision, recall = precision_recall_curve(scores, scores[[0, 1, n - 1]])
    assert recall.tolist() == [1, 2 / 3, 1 / 3, 0]
    assert precision.tolist() == [3 / n, 2 / (n - 1), 1, 1]


def test_the_area_below_a_curve_is_the_average_precision():
    probabilities, targets = CASES["ties"]
    areas = per_class_metrics(probabilities, targets)["average_precision"]
    curves = class_curves(probabilities.numpy(), targets.numpy())
    for area, (precision, recall) in zip(areas, curves, strict=True):
        assert area == pytest.approx(-(np.diff(recall) * precision[:-1]).sum(), abs=1e-12)


def test_the_pooled_curve_is_that_of_all_decisions():
    probabilities, targets = CASES["ties"]
    hits = np.eye(probabilities.shape[1], dtype=bool)[targets]
    precision, recall = pooled_curve(probabilities.numpy(), targets.numpy())
    expected = average_precision_score(hits.ravel(), probabilities.numpy().ravel())
    assert -(np.diff(recall) * precision[:-1]).sum() == pytest.approx(expected, abs=1e-12)


def test_a_curve_of_many_points_is_thinned_and_keeps_its_ends(monkeypatch):
    generator = np.random.default_rng(0)
    scores, own = generator.normal(size=5_000), generator.normal(1, size=900)
    scores = np.concatenate([scores, own])
    whole = precision_recall_curve(scores, own)
    monkeypatch.setattr(metrics, "POINTS", 300)
    precision, recall = precision_recall_curve(scores, own)
    assert len(precision) == len(recall) == 301
    places = np.searchsorted(-whole[1], -recall)
    np.testing.assert_array_equal(precision, whole[0][places])
    assert (recall[0], recall[-1], precision[-1]) == (1, 0, 1)
