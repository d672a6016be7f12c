import time
import tracemalloc

import numpy as np
import pytest

from fashion.metrics import resampling
from fashion.metrics.metrics import FIGURES
from fashion.metrics.predictions import Predictions
from fashion.metrics.resampling import affordable_resamples, bootstrap, multiplicities


def predictions(probabilities, targets):
    names = tuple(f"class {k}" for k in range(probabilities.shape[1]))
    ids = np.arange(len(targets)).astype(np.str_)
    return Predictions(ids, probabilities.astype(np.float32), targets, names)


def draw(n, k, seed, levels=None, present=None):
    """Draw predictions that know a little of the targets; `levels` rounds them into ties."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, present or k, n)
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), targets] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if levels:
        probabilities = np.round(probabilities * levels) / levels
    return predictions(probabilities, targets)


def resamples(targets, num_resamples, seed, *, by_class):
    chunks = multiplicities(targets, num_resamples, seed, by_class=by_class)
    return np.concatenate(list(chunks), axis=1).astype(int)


def repeat(p, counts):
    """Return scores and targets of the images, each as often as it was drawn."""
    rows = np.repeat(np.arange(len(counts)), counts)
    return p.probabilities[rows], p.targets[rows]


CASES = {
    "plain": draw(200, 5, seed=0),
    "ties": draw(200, 5, seed=1, levels=10),
    "more ties": draw(150, 4, seed=2, levels=2),
    "two classes": draw(60, 2, seed=3, levels=4),
    "absent classes": draw(60, 9, seed=4, present=6, levels=20),
    "one image a class": draw(4, 30, seed=5),
    "one image": draw(1, 3, seed=6),
    "constant predictor": predictions(np.tile([0.5, 0.3, 0.2], (60, 1)), np.arange(60) % 3),
    "perfect": predictions(np.eye(5)[np.arange(40) % 5], np.arange(40) % 5),
}


@pytest.mark.parametrize("case", CASES)
def test_the_figures_of_a_resample_are_scikit_learns_on_the_repeated_images(
    case, scikit_learn_metrics
):
    p = CASES[case]
    figures = bootstrap(p, num_resamples=12, seed=3)
    assert list(figures) == list(FIGURES)
    plain = resamples(p.targets, 12, 3, by_class=False)
    by_class = resamples(p.targets, 12, 3, by_class=True)
    for i in range(12):
        expected = scikit_learn_metrics(*repeat(p, by_class[:, i]))
        expected["accuracy"] = scikit_learn_metrics(*repeat(p, plain[:, i]))["accuracy"]
        assert {name: figures[name][i] for name in FIGURES} == pytest.approx(expected, abs=1e-12)


def test_a_resample_within_classes_keeps_each_class_s_number_of_images():
    targets = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [1, 5, 40]))
    counts = resamples(targets, 50, seed=1, by_class=True)
    for k, size in ((0, 1), (1, 5), (3, 40)):
        assert (counts[targets == k].sum(axis=0) == size).all()
    assert len(np.unique(counts[targets == 3], axis=1).T) == 50


def test_a_plain_resample_draws_every_image_equally_often():
    targets = np.repeat([0, 1], [5, 15])
    counts = resamples(targets, 4000, seed=1, by_class=False)
    assert (counts.sum(axis=0) == 20).all()
    assert counts[:5].sum(axis=0).std() > 1
    np.testing.assert_allclose(counts.mean(axis=1), 1, atol=0.06)
    np.testing.assert_allclose(counts.var(axis=1), 19 / 20, atol=0.1)


def test_models_of_equal_targets_get_equal_resamples():
    right = draw(80, 3, seed=7)
    image = np.flatnonzero(right.probabilities.argmax(axis=1) == right.targets)[0]
    altered = right.probabilities.copy()
    altered[image] = np.roll(altered[image], 1)
    wrong = predictions(altered, right.targets)
    difference = bootstrap(right, 30)["accuracy"] - bootstrap(wrong, 30)["accuracy"]
    drawn = resamples(right.targets, 30, seed=0, by_class=False)[image]
    np.testing.assert_allclose(difference, drawn / 80, atol=1e-12)


@pytest.mark.parametrize("columns", [1, 7, 16, 49])
@pytest.mark.parametrize("seed", range(5))
def test_the_size_of_the_chunks_changes_no_draw_and_no_replicate(seed, columns, monkeypatch):
    """Draws are the same to the bit; figures but for the order in which a sum is rounded."""
    p = CASES["ties"]
    drawn = [resamples(p.targets, 50, seed, by_class=by_class) for by_class in (False, True)]
    whole = bootstrap(p, 50, seed=seed)
    monkeypatch.setattr(resampling, "CHUNK", columns * len(p.targets))
    for by_class in (False, True):
        again = resamples(p.targets, 50, seed, by_class=by_class)
        np.testing.assert_array_equal(again, drawn[by_class])
    for name, values in bootstrap(p, 50, seed=seed).items():
        np.testing.assert_allclose(values, whole[name], rtol=0, atol=1e-13)
        assert values.shape == (50,)
        assert values.dtype == np.float64


def test_another_seed_gives_other_resamples():
    first, second = (bootstrap(CASES["plain"], 20, seed=seed) for seed in (0, 1))
    assert all((first[name] != second[name]).any() for name in FIGURES)


def test_the_study_s_size_takes_seconds():
    p = draw(4215, 54, seed=9)
    start = time.process_time()  # whatever else keeps the cores busy
    bootstrap(p)
    assert time.process_time() - start < 20  # a second or two


def test_ten_times_the_study_s_size_stays_below_half_a_gigabyte():
    p = draw(42_150, 54, seed=10)
    tracemalloc.start()
    try:
        bootstrap(p, 30)
        assert tracemalloc.get_traced_memory()[1] < 0.5e9
    finally:
        tracemalloc.stop()


def test_a_resample_of_the_first_version_is_drawn_again():
    """What is written about a run stays what it was."""
    targets = np.array([1, 0, 1, 1, 0])
    plain, by_class = (resamples(targets, 3, 0, by_class=b).T for b in (False, True))
    assert plain.tolist() == [[0, 2, 1, 1, 1], [4, 0, 0, 0, 1], [0, 0, 1, 2, 2]]
    assert by_class.tolist() == [[1, 0, 1, 1, 2], [1, 1, 0, 2, 1], [2, 2, 0, 1, 0]]


@pytest.mark.parametrize(
    ("num_images", "num_classes", "expected"),
    [(4215, 54, 2000), (100_000, 1000, 2000), (100_000, 10_000, 200), (10**6, 10**4, 200)],
)
def test_resamples_become_fewer_where_photos_and_classes_are_many(
    num_images, num_classes, expected
):
    assert affordable_resamples(num_images, num_classes, 2000) == expected
    assert affordable_resamples(num_images, num_classes, 30) == 30


@pytest.mark.parametrize("num_resamples", [1, 9, 70])
def test_what_is_yielded_lies_in_one_piece(num_resamples, monkeypatch):
    """Otherwise each class would copy it."""
    monkeypatch.setattr(resampling, "CHUNK", 100 * 16)
    monkeypatch.setattr(resampling, "DRAWN", 100 * 5)
    chunks = list(multiplicities(np.arange(100) % 3, num_resamples, 0, by_class=True))
    assert all(counts.flags.c_contiguous for counts in chunks)
    assert sum(counts.shape[1] for counts in chunks) == num_resamples
