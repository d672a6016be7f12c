import numpy as np
import pytest
from scipy.special import betainc
from scipy.stats import beta

from fashion.review.binomial import effective, incomplete_beta, jeffreys


@pytest.mark.parametrize("a", [0.5, 1, 3.7, 250, 40_000])
@pytest.mark.parametrize("b", [0.5, 1, 12, 990.5, 20_000])
def test_the_incomplete_beta_function_is_scipys(a, b):
    middle, spread = a / (a + b), (a * b / (a + b) ** 2 / (a + b + 1)) ** 0.5
    for x in np.clip(middle + spread * np.linspace(-4, 4, 9), 1e-9, 1 - 1e-9):
        assert incomplete_beta(x, a, b) == pytest.approx(betainc(a, b, x), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(("right", "count"), [(7, 10), (98, 100), (1, 300), (4_900, 5_000)])
def test_the_ends_are_quantiles_of_jeffreys_posterior(right, count):
    posterior = beta(right + 0.5, count - right + 0.5)
    assert jeffreys(right, count) == pytest.approx(posterior.ppf([0.025, 0.975]), abs=1e-9)


def test_shares_of_0_and_1_have_an_interval_too():
    assert jeffreys(0, 0) == (0, 1)
    assert jeffreys(50, 50) == (pytest.approx(beta(50.5, 0.5).ppf(0.025), abs=1e-9), 1)
    assert jeffreys(0, 50) == (0, pytest.approx(beta(0.5, 50.5).ppf(0.975), abs=1e-9))


def test_numbers_between_whole_ones_have_intervals_between_theirs():
    ends = [jeffreys(right, 60.5) for right in (55, 55.5, 56)]
    assert ends == sorted(ends)


def test_unequal_weights_tell_less():
    assert effective([2.0] * 7) == pytest.approx(7)
    assert effective([1, 1, 10]) == pytest.approx(144 / 102)
    assert effective([]) == 0
