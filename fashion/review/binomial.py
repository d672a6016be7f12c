"""The interval of a share near 0 or 1, of few photos, without SciPy."""

import math
from collections.abc import Callable

ALPHA = 0.05
LEAST = 1e-300  # in place of a denominator of 0
PRECISION = 1e-12


def jeffreys(right: float, count: float) -> tuple[float, float]:
    """Give the 95 % interval of a share of so many photos.

    In `benchmarks/corrections.py` it holds the truth about as often as it says for the shares near
    1 that sure labels have, with few photos, too; Wilson's does too seldom there, and Clopper's and
    Pearson's too often.

    Args:
        right: How many have it, in `[0, count]`; need not be whole.
        count: Of how many, 0 or more; need not be whole, see `effective`.

    References:
        L. D. Brown, T. T. Cai and A. DasGupta, Interval estimation for a binomial proportion,
        Statistical Science 16 (2001).
    """

    def below(share: float) -> float:
        return incomplete_beta(share, right + 0.5, count - right + 0.5)

    low = _solve(below, ALPHA / 2) if right > 0 else 0.0
    high = _solve(below, 1 - ALPHA / 2) if right < count else 1.0
    return low, high


def effective(weights: list[float]) -> float:
    """Give the number of photos of equal weight that tell as much as some of these weights.

    References:
        L. Kish, Survey Sampling (1965), section 11.7.
    """
    squares = math.fsum(weight * weight for weight in weights)
    return math.fsum(weights) ** 2 / squares if squares else 0.0


def _solve(rises: Callable[[float], float], value: float) -> float:
    low, high = 0.0, 1.0
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if rises(middle) < value else (low, middle)
    return (low + high) / 2


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function, which rises with `x` from 0 to 1.

    Args:
        x: In `[0, 1]`.
        a: Above 0.
        b: Above 0.

    References:
        W. H. Press et al., Numerical Recipes, section 6.4.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(front + a * math.log(x) + b * math.log1p(-x)) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction of the incomplete beta function, by Lentz's method."""
    c, d = 1.0, 1 / _not_0(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):  # it takes some multiple of the root of a + b
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 / _not_0(1 + term * d), _not_0(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < PRECISION:
            break
    return value


def _not_0(value: float) -> float:
    return value if abs(value) > LEAST else LEAST
