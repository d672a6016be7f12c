import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from fashion.metrics.intervals import (
    FIGURES,
    compare_pairs,
    effective_count,
    figure_intervals,
    interval,
    over_seeds,
    wilson,
)
from fashion.metrics.predictions import Predictions
from fashion.metrics.resampling import bootstrap


def draw(n, k):
    """Draw predictions that know a little of the targets."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), targets] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids, names = np.arange(n).astype(np.str_), tuple(map(str, range(k)))
    return Predictions(ids, probabilities.astype(np.float32), targets, names)


def test_the_intervals_of_evenly_spread_replicates_are_those_computed_by_hand():
    replicates = np.arange(1000) / 999  # the q-th quantile is q
    assert interval(0.9, replicates, bias_corrected=False) == pytest.approx((0.025, 0.975))
    # 300 of 1000 lie below: z0 = -0.52440, and the ends are at z0 + z0 -+ 1.95996.
    corrected = interval(299.5 / 999, replicates, bias_corrected=True)
    assert corrected == pytest.approx((0.001312, 0.818895), abs=5e-6)


def test_replicates_equal_to_the_estimate_count_half():
    replicates = np.repeat([0.1, 0.2, 0.3, 0.4], [10, 40, 40, 10])
    plain = interval(0.25, replicates, bias_corrected=False)
    assert interval(0.25, replicates, bias_corrected=True) == pytest.approx(plain)
    level = np.repeat([0.1, 0.2, 0.3], [30, 40, 30])
    assert interval(0.2 + 1e-8, level, bias_corrected=True) == (0.1, 0.3)
    assert interval(0.2 - 1e-8, level, bias_corrected=True) == (0.1, 0.3)


@pytest.mark.parametrize(("method", "corrected"), [("percentile", False), ("BCa", True)])
def test_the_intervals_are_scipy_s(method, corrected):
    half = np.random.default_rng(0).normal(size=30)
    sample = np.r_[half, -half]  # symmetric: the acceleration of scipy's BCa is 0
    theirs = stats.bootstrap((sample,), np.mean, n_resamples=299, method=method, rng=5)
    ours = interval(sample.mean(), theirs.bootstrap_distribution, bias_corrected=corrected)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=1e-9)


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize(
    ("estimate", "replicates"),
    [
        (1.0, np.ones(50)),
        (0.5, np.ones(50)),
        (0.0, np.linspace(0.4, 0.6, 50)),
        (1.0, np.linspace(0.4, 0.6, 50)),
        (0.5, np.array([0.7])),
    ],
    ids=["all equal", "all equal but not to it", "all above", "all below", "one replicate"],
)
def test_a_degenerate_interval_is_within_the_replicates(estimate, replicates, corrected):
    low, high = interval(estimate, replicates, bias_corrected=corrected)
    assert replicates.min() <= low <= high <= replicates.max()


@pytest.mark.parametrize(("right", "count"), [(0, 1), (10, 10), (0, 7), (3, 8), (3928, 4215)])
def test_the_interval_of_a_share_is_wilson_s(right, count):
    share, z = right / count, stats.norm.ppf(0.975)
    ends = wilson(share, count)
    # Where the share of the truth is as far away as chance would bring it.
    for end in ends:
        distance = abs(share - end)
        assert distance == pytest.approx(z * np.sqrt(end * (1 - end) / count), abs=1e-12)
    theirs = proportion_confint(right, count, method="wilson")
    assert ends == pytest.approx(theirs, abs=1e-12)
    assert 0 <= ends[0] <= share <= ends[1] <= 1
    assert ends[0] < ends[1]


def test_a_mean_that_varies_as_so_many_images_would_counts_as_so_many():
    replicates = np.random.default_rng(0).binomial(200, 0.9, 20_000) / 200
    assert effective_count(0.9, replicates, 1000) == pytest.approx(200, rel=0.03)
    for share in (0, 1):
        assert effective_count(share, np.full(50, float(share)), 10) == 10
    assert effective_count(0.5, np.full(50, 0.5), 10) == 10


def test_accuracy_has_wilson_s_interval_and_the_macro_figures_corrected_ones(scikit_learn_metrics):
    p = draw(200, 5)
    estimates = scikit_learn_metrics(p.probabilities, p.targets)
    replicates = bootstrap(p, 300)
    ends = figure_intervals(estimates, replicates, len(p.targets))
    assert list(ends) == [f"{name}_{end}" for name in FIGURES for end in ("low", "high")]
    for name in FIGURES:
        expected = interval(estimates[name], replicates[name], bias_corrected=True)
        if name == "accuracy":
            expected = wilson(estimates[name], len(p.targets))
        assert (ends[f"{name}_low"], ends[f"{name}_high"]) == expected
        assert ends[f"{name}_low"] < estimates[name] < ends[f"{name}_high"]


def width(replicates):
    low, high = interval(0.5, replicates, bias_corrected=False)
    return high - low


def test_seeds_that_differ_widen_the_interval_and_seeds_that_agree_leave_it():
    run = bootstrap(draw(200, 5), 500)
    same = over_seeds([run, run, run])
    shifted = [{name: run[name] + step for name in FIGURES} for step in (-0.1, 0, 0.1)]
    differing = over_seeds(shifted)
    for name in FIGURES:
        np.testing.assert_allclose(same[name], run[name])
        np.testing.assert_array_equal(over_seeds([run])[name], run[name])
        assert width(differing[name]) > 1.3 * width(run[name])
        assert differing[name].mean() == pytest.approx(run[name].mean(), abs=0.01)


def test_a_replicate_over_seeds_is_the_mean_of_runs_drawn_with_replacement():
    runs = [dict.fromkeys(FIGURES, np.full(4000, value)) for value in (0.0, 1.0)]
    values, counts = np.unique(over_seeds(runs)["macro_f1"], return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    np.testing.assert_allclose(counts / 4000, [1 / 4, 1 / 2, 1 / 4], atol=0.03)


def test_the_pairs_have_mcnemar_s_p_and_holm_s_correction():
    rng = np.random.default_rng(3)
    difficulty = rng.random(400)
    hits = {
        name: difficulty + rng.normal(0, 0.2, 400) < accuracy
        for name, accuracy in {"good": 0.8, "fair": 0.78, "middling": 0.72, "poor": 0.5}.items()
    }
    table = compare_pairs(hits)
    assert len(table) == 6
    assert table["p"].is_monotonic_increasing
    adjusted = multipletests(table["p"], alpha=0.05, method="holm")
    np.testing.assert_allclose(table["p_holm"], adjusted[1])
    assert table["is_real"].tolist() == adjusted[0].tolist()
    for row in table.itertuples():
        first, second = hits[row.first], hits[row.second]
        assert row.first_only == (first & ~second).sum()
        assert row.second_only == (second & ~first).sum()
        assert row.difference == pytest.approx(first.mean() - second.mean())
        discordant = row.first_only + row.second_only
        assert row.p == pytest.approx(stats.binomtest(row.first_only, discordant).pvalue)
    assert 0 < table["is_real"].sum() < 6


def test_holm_s_correction_is_that_computed_by_hand():
    hits = {"a": np.arange(40) < 30, "b": np.arange(40) < 22, "c": np.arange(40) < 21}
    table = compare_pairs(hits)
    assert table["p"].tolist() == [2 / 2**9, 2 / 2**8, 1]
    assert table["p_holm"].tolist() == [3 * 2 / 2**9, 2 * 2 / 2**8, 1]
    assert table["is_real"].tolist() == [True, True, False]
    assert table[["first", "second"]].to_numpy().tolist() == [["a", "c"], ["a", "b"], ["b", "c"]]


def test_models_that_agree_on_every_image_do_not_differ():
    right = np.arange(10) < 7
    row = compare_pairs({"one": right, "other": right}).iloc[0]
    assert (row["first_only"], row["second_only"], row["difference"]) == (0, 0, 0)
    assert (row["p"], row["p_holm"], bool(row["is_real"])) == (1, 1, False)


@pytest.mark.parametrize("hits", [{}, {"alone": np.array([True, False])}], ids=["none", "one"])
def test_fewer_than_two_models_make_an_empty_table(hits):
    table = compare_pairs(hits)
    assert table.empty
    assert table.columns.tolist() == [
        *("first", "second", "first_only", "second_only", "difference", "p", "p_holm", "is_real")
    ]


def test_models_of_different_images_are_refused():
    with pytest.raises(ValueError, match=r"same images.*'a': 3, 'b': 4"):
        compare_pairs({"a": np.ones(3, bool), "b": np.ones(4, bool)})


@pytest.mark.parametrize("count", [10, 30, 500])
def test_the_accuracy_interval_holds_the_truth_in_95_of_100_test_sets(count):
    right = np.random.default_rng(0).binomial(count, 0.9, 2000)
    held = [low <= 0.9 <= high for low, high in (wilson(k / count, count) for k in right)]
    assert 0.93 <= np.mean(held) <= 0.985


def test_six_equally_good_models_differ_in_at_most_5_of_100_test_sets():
    rng = np.random.default_rng(0)
    alarms, uncorrected = [], []
    for _ in range(1000):
        difficulty = rng.normal(size=(500, 1))  # shared: the models err on the same images
        right = difficulty + rng.normal(size=(500, 6)) < 1.8
        table = compare_pairs(dict(zip("abcdef", right.T, strict=True)))
        alarms.append(table["is_real"].any())
        uncorrected.append((table["p"] < 0.05).any())
    assert 0 < np.mean(alarms) <= 0.05
    assert np.mean(uncorrected) > 0.2  # what Holm's correction is for
