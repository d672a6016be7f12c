"""What was bootstrapped once is found again, and never for other predictions."""

import os

import numpy as np
import pytest

from fashion.metrics.predictions import Predictions
from fashion.metrics.resampling import bootstrap
from fashion.reports import kept_resamples
from fashion.reports.kept_resamples import kept_bootstrap


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The user's cache folder, for this test alone."""
    monkeypatch.setattr(kept_resamples, "default_cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "resamples"


def draw(seed, temperature=None):
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.ones(3), 40).astype(np.float32)
    targets = generator.integers(0, 3, 40)
    return Predictions(np.arange(40).astype(str), scores, targets, tuple("abc"), None, temperature)


@pytest.fixture
def files(tmp_path):
    """The predictions of three runs, saved."""
    for seed in range(3):
        draw(seed).save(tmp_path / f"{seed}.npz")
    return [tmp_path / f"{seed}.npz" for seed in range(3)]


@pytest.fixture
def resamples():
    """Returns resamples(paths, number), and counts in `.reads` how often they were read."""

    def resamples_(paths, number=50):
        def read():
            resamples_.reads += 1
            return Predictions.load(paths[0])

        return kept_bootstrap(paths, read, number)

    resamples_.reads = 0
    return resamples_


def same(one, other):
    return one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)


def test_what_was_computed_is_found_again_wherever_it_lies(files, resamples, tmp_path):
    expected = bootstrap(draw(0), 50)
    moved = tmp_path / "elsewhere.npz"
    assert same(resamples(files[:1]), expected)
    os.rename(files[0], moved)
    assert same(resamples([moved]), expected)
    assert resamples.reads == 1


def test_other_predictions_members_or_numbers_are_computed_anew(files, resamples):
    resamples(files[:1])
    resamples(files[:2])
    resamples(files[1::-1])
    resamples(files[:1], 60)
    draw(0, temperature=2.0).save(files[0])
    resamples(files[:1])
    assert resamples.reads == 5


@pytest.mark.parametrize("damage", ["shorter", "empty", "others", "not finite", "a folder"])
def test_what_is_damaged_is_computed_again(damage, files, resamples, cache):
    expected = resamples(files[:1])
    (kept,) = cache.iterdir()
    if damage == "shorter":
        os.truncate(kept, kept.stat().st_size // 2)
    elif damage == "empty":
        os.truncate(kept, 0)
    elif damage == "others":
        np.savez(kept, accuracy=np.zeros(50))
    elif damage == "not finite":
        np.savez(kept, **{name: part * np.nan for name, part in expected.items()})
    else:
        kept.unlink()
        kept.mkdir()
    assert same(resamples(files[:1]), expected)
    assert resamples.reads == 2


def test_where_nothing_can_be_kept_it_is_computed_each_time(files, resamples, cache):
    cache.parent.mkdir()
    cache.write_text("a file")
    assert same(resamples(files[:1]), resamples(files[:1]))
    assert resamples.reads == 2
