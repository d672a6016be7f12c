"""The interval of a share near 0 or 1, of few photos, without SciPy."""

import math
from collections.abc import Callable

ALPHA = 0.05
LEAST = 1e-300  # in place of a denominator of 0
PRECISION = 1e-12


def mid_p(right: float, count: float) -> tuple[float, float]:
    """Give the 95 % interval of a share of so many photos.

    It is Clopper's and Pearson's with half of the probability of what was seen. Theirs, which
    holds the truth too often, and Wilson's, which for shares near 1 holds it too seldom, are
    compared with it in `benchmarks/corrections.py`.

    Args:
        right: How many have it, in `[0, count]`; need not be whole.
        count: Of how many, 0 or more; need not be whole, see `effective`.

    References:
        H. O. Lancaster, Significance tests in discrete distributions, JASA 56 (1961).
    """
    if count <= 0:
        return 0.0, 1.0

    def above(share: float) -> float:
        """Return the chance of more than `right`, half of that of `right` itself with it."""
        at_least = incomplete_beta(share, right, count - right + 1)
        more = incomplete_beta(share, right + 1, count - right)
        return (at_least + more) / 2

    low = _solve(above, ALPHA / 2) if right > 0 else 0.0
    high = _solve(above, 1 - ALPHA / 2) if right < count else 1.0
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
        a: 0, where it is 1 throughout, or more.
        b: 0, where it is 0 below `x` of 1, or more.

    References:
        W. H. Press et al., Numerical Recipes, section 6.4.
    """
    if a <= 0 or x >= 1:
        return 1.0
    if b <= 0 or x <= 0:
        return 0.0
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
