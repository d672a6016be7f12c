"""What was computed of a test once is found again, and never for other predictions."""

import os
import weakref

import numpy as np
import pytest

from fashion.metrics.metrics import FIGURES
from fashion.metrics.predictions import Predictions, mean_predictions, score_predictions
from fashion.metrics.resampling import bootstrap
from fashion.reports import tested
from fashion.reports.tested import examine, read_photos


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The user's cache folder, for this test alone."""
    monkeypatch.setattr(tested, "default_cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "tested"


@pytest.fixture
def reads(monkeypatch):
    """The files whose probabilities were read, and the most that were held at a time."""
    load = Predictions.load

    class Reads(list):
        held = most = 0

    reads = Reads()

    def counted(path):
        predictions = load(path)
        reads.append(path)
        reads.held += 1
        reads.most = max(reads.most, reads.held)
        weakref.finalize(predictions, lambda: setattr(reads, "held", reads.held - 1))
        return predictions

    monkeypatch.setattr(Predictions, "load", counted)
    return reads


def draw(seed, temperature=None):
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.ones(3), 40).astype(np.float32)
    targets = np.random.default_rng(9).integers(0, 3, 40)
    ids = np.char.zfill(np.arange(40).astype(str), 2)
    return Predictions(ids, scores, targets, tuple("abc"), None, temperature)


def shuffled(predictions, seed):
    order = np.random.default_rng(seed).permutation(40)
    return Predictions(
        predictions.image_ids[order],
        predictions.probabilities[order],
        predictions.targets[order],
        predictions.class_names,
        None,
        predictions.temperature,
    )


@pytest.fixture
def files(tmp_path):
    """The predictions of three runs, saved."""
    for seed in range(3):
        draw(seed).save(tmp_path / f"{seed}.npz")
    return [tmp_path / f"{seed}.npz" for seed in range(3)]


def same(one, other):
    figures = all((one.replicates[name] == other.replicates[name]).all() for name in FIGURES)
    return figures and (one.hits == other.hits).all() and one.scores == other.scores


def test_what_was_computed_is_found_again_wherever_it_lies(files, reads, tmp_path):
    expected = tested.Tested(draw(0).hits(), score_predictions(draw(0)), bootstrap(draw(0), 50))
    moved = tmp_path / "elsewhere.npz"
    assert same(examine(files[:1], 50), expected)
    os.rename(files[0], moved)
    assert same(examine([moved], 50), expected)
    assert len(reads) == 1


def test_other_predictions_members_or_numbers_are_computed_anew(files, reads):
    for paths in (files[:1], files[:2], files[1::-1]):
        examine(paths, 50)
    examine(files[:1], 60)
    draw(0, temperature=2.0).save(files[0])
    examine(files[:1], 50)
    assert [path.name for path in reads] == [f"{i}.npz" for i in (0, 0, 1, 1, 0, 0, 0)]


@pytest.mark.parametrize("damage", ["shorter", "empty", "others", "not finite", "a folder"])
def test_what_is_damaged_is_computed_again(damage, files, reads, cache):
    expected = examine(files[:1], 50)
    (kept,) = cache.iterdir()
    parts = {"hits": expected.hits, "scores": np.array(list(expected.scores.values()))}
    if damage == "shorter":
        os.truncate(kept, kept.stat().st_size // 2)
    elif damage == "empty":
        os.truncate(kept, 0)
    elif damage == "others":
        np.savez(kept, **parts, accuracy=np.zeros(50))
    elif damage == "not finite":
        replicates = {name: part * np.nan for name, part in expected.replicates.items()}
        np.savez(kept, **parts, **replicates)
    else:
        kept.unlink()
        kept.mkdir()
    assert same(examine(files[:1], 50), expected)
    assert len(reads) == 2


def test_where_nothing_can_be_kept_it_is_computed_each_time(files, reads, cache):
    cache.parent.mkdir()
    cache.write_text("a file")
    assert same(examine(files[:1], 50), examine(files[:1], 50))
    assert len(reads) == 2


def test_an_ensemble_is_of_calibrated_models_whatever_the_order_of_their_photos(files, reads):
    members = [draw(0), draw(1, 0.5), draw(2, 2.0)]
    whole = np.stack([one.calibrated() for one in members]).mean(axis=0, dtype=np.float64)
    expected = Predictions(
        *(members[0].image_ids, whole.astype(np.float32)), members[0].targets, tuple("abc")
    )
    for seed, (one, path) in enumerate(zip(members, files, strict=True)):
        shuffled(one, seed).save(path)
    ensemble = examine(files, 50)
    assert (ensemble.hits == expected.hits()).all()
    assert ensemble.scores == score_predictions(expected)
    replicates = bootstrap(expected, 50)
    assert all((ensemble.replicates[name] == replicates[name]).all() for name in FIGURES)
    mean = mean_predictions(Predictions.load(path) for path in files)
    assert (mean.probabilities == expected.probabilities).all()
    assert mean.image_ids.tolist() == expected.image_ids.tolist()
    assert reads.most == 1  # however many take part


def test_photos_are_read_in_the_order_of_their_ids_and_without_probabilities(files, reads):
    shuffled(draw(0), 5).save(files[0])
    ids, targets, names = read_photos(files[0])
    assert (ids == draw(0).image_ids).all()
    assert (targets == draw(0).targets).all()
    assert names == tuple("abc")
    assert not reads
    files[1].write_bytes(files[1].read_bytes()[:200])
    for read in (read_photos, lambda path: examine([path], 50)):
        with pytest.raises(ValueError, match="holds no predictions of this project"):
            read(files[1])
