"""How sure the figures of predictions are: their intervals, and which differences are real."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from fashion.metrics.metrics import FIGURES

ALPHA = 0.05

Replicates = Mapping[str, NDArray[np.float64]]


def wilson(share: float, count: float) -> tuple[float, float]:
    """Give the 95 % interval of a share of so many images.

    Args:
        share: In `[0, 1]`.
        count: Above 0; need not be whole, see `effective_count`.

    Returns:
        Its low and high end, within `[0, 1]`; apart from each other even for a share of 0 or 1.

    References:
        E. B. Wilson, Probable inference, JASA 22 (1927).
    """
    low, high = proportion_confint(share * count, count, ALPHA, method="wilson")
    return float(np.clip(low, 0, share)), float(np.clip(high, share, 1))


def effective_count(share: float, replicates: NDArray[np.float64], count: int) -> float:
    """Give the number of images of which a share would vary as its replicates do.

    Args:
        share: Of the images themselves.
        replicates: The same of resamples, `(R,)`.
        count: The number of images, returned where the replicates don't vary.
    """
    variance = replicates.var()
    return float(share * (1 - share) / variance) if variance and 0 < share < 1 else count


def interval(
    estimate: float, replicates: NDArray[np.float64], *, bias_corrected: bool
) -> tuple[float, float]:
    """Give the 95 % interval that replicates make.

    Args:
        estimate: The figure of the images themselves.
        replicates: The same figure of resamples, `(R,)`, `R >= 1`.
        bias_corrected: Move the two percentiles by the share of replicates below the estimate,
            equal ones counting half. Without it they are the 2.5th and the 97.5th.

    Returns:
        Its low and high end, within the range of the replicates.

    References:
        B. Efron, Better bootstrap confidence intervals, JASA 82 (1987), section 2.
    """
    tails = np.array([ALPHA / 2, 1 - ALPHA / 2])
    if bias_corrected:
        equal = np.isclose(replicates, estimate, rtol=0, atol=1e-6)  # one may come from float32
        below = np.mean((replicates < estimate) & ~equal) + np.mean(equal) / 2
        # A share of 0 or 1 is out of the normal distribution's reach.
        share = np.clip(below, 0.5 / len(replicates), 1 - 0.5 / len(replicates))
        tails = norm.cdf(2 * norm.ppf(share) + norm.ppf(tails))
    low, high = np.quantile(replicates, tails)
    return float(low), float(high)


def figure_intervals(
    estimates: Mapping[str, float], replicates: Replicates, count: float
) -> dict[str, float]:
    """Give the 95 % interval of each of `FIGURES`.

    Accuracy is a share and has Wilson's. The macro figures are biased in a resample, since repeated
    images rank and count together; they have bias-corrected percentiles, which miss the truth
    about as often on either side. `benchmarks/interval_coverage.py` measures both.

    Args:
        estimates: The figures.
        replicates: The macro figures of resamples.
        count: The images that the accuracy is a share of; of a mean over seeds `effective_count`.

    Returns:
        `accuracy_low`, `accuracy_high`, `macro_f1_low` and so on.
    """
    low, high = wilson(estimates["accuracy"], count)
    ends = {"accuracy_low": low, "accuracy_high": high}
    for name in FIGURES[1:]:
        low, high = interval(estimates[name], replicates[name], bias_corrected=True)
        ends |= {f"{name}_low": low, f"{name}_high": high}
    return ends


def over_seeds(replicates: Sequence[Replicates], seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Make replicates of the mean figure of runs that differ in their seed only.

    Each replicate draws the runs with replacement, on one resample of the images, so that an
    interval holds the chance in both. The variance that `S` runs add is too small by the factor
    `(S-1)/S`, as in any bootstrap of a mean: the width is a lower bound where seeds are few, and a
    single run adds none.

    Args:
        replicates: What `bootstrap` returns for each run, one at least, of equal targets, number
            and seed.
        seed: Of the draw of runs.
    """
    num_runs, num_resamples = len(replicates), len(replicates[0][FIGURES[0]])
    rng = np.random.default_rng(seed)
    shares = rng.multinomial(num_runs, np.full(num_runs, 1 / num_runs), num_resamples) / num_runs
    return {
        name: (np.stack([run[name] for run in replicates], axis=1) * shares).sum(axis=1)
        for name in FIGURES
    }


def compare_pairs(hits: Mapping[str, NDArray[np.bool_]]) -> pd.DataFrame:
    """Test for each pair of models whether their accuracies differ.

    The test is McNemar's, exact, on the images that only one of the two gets right. Holm's
    correction over all pairs keeps the chance of any false alarm at 5 %.

    Args:
        hits: Which images each model gets right, `(N,)`, the same images in the same order.

    Returns:
        One row per pair, smallest p first: `first`, `second`, `first_only` and `second_only`
        (images that only this one gets right), `difference` (accuracy of the first less that of the
        second), `p`, `p_holm`, `is_real` (`p_holm` below 0.05). No row for fewer than two models.

    Raises:
        ValueError: The models have different numbers of images.
    """
    lengths = {name: len(right) for name, right in hits.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"Models are compared on the same images, but their numbers are {lengths}."
        )
    rows = [
        {"first": first, "second": second, **_mcnemar(hits[first], hits[second])}
        for first, second in combinations(hits, 2)
    ]
    columns = ["first", "second", "first_only", "second_only", "difference", "p"]
    table = pd.DataFrame(rows, columns=columns).sort_values("p", kind="stable", ignore_index=True)
    # statsmodels' own correction collects garbage in each call, 0.2 s where torch is loaded.
    steps = np.maximum.accumulate(table["p"].to_numpy(np.float64) * np.arange(len(rows), 0, -1))
    table["p_holm"] = np.minimum(steps, 1)
    table["is_real"] = table["p_holm"] < ALPHA
    return table


def _mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> dict[str, Any]:
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    first_only, second_only = int((first & ~second).sum()), int((~first & second).sum())
    test = mcnemar([[both, first_only], [second_only, neither]], exact=True)
    return {
        "first_only": first_only,
        "second_only": second_only,
        "difference": (first_only - second_only) / len(first),
        "p": float(test.pvalue),
    }
