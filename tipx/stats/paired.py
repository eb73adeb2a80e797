"""Is B better than A on the same problems? Tests for pairs of one run each. This module needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from tipx.stats.difference import Difference

CONFIDENCE = 0.95
RESAMPLES = 9_999
MAX_EXACT = 16
"""Up to so many problems that differ, all 2^n ways to swap A and B are counted. For more, RESAMPLES ways are drawn."""


@dataclass(frozen=True)
class McNemar:
    """The numbers of problems that only A and that only B solves, and the exact p-value."""

    only_a: int
    only_b: int
    p: float


def compare_means(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Difference:
    """Compare the accuracies `a[i]` and `b[i]` of two models on problem i.

    Problems are the independent units: several answers to one problem are first averaged. The interval of the mean of
    b - a is a BCa bootstrap over problems. The test is a permutation test: if there is no difference, A and B may be
    swapped in each problem, which flips the sign of its b - a.
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"need one value of each for each problem, got {len(a)} and {len(b)}")
    differences = np.subtract(b, a)
    low, high = bootstrap_interval(differences, seed)
    p, exact = permutation_test_signs(differences, seed)
    return Difference(fmean(differences.tolist()), low, high, p, exact)


def bootstrap_interval(differences: np.ndarray, seed: int) -> tuple[float | None, float | None]:
    """The BCa bootstrap interval of the mean (Efron 1987), from RESAMPLES resamples. (None, None) for one value.

    BCa corrects the percentiles of the resampled means for bias and skewness.
    """
    from scipy.stats import bootstrap  # slow to import, and a list of runs does not need it

    if len(differences) < 2:
        return None, None
    if np.ptp(differences) == 0:  # nothing varies: BCa would divide by 0
        return float(differences[0]), float(differences[0])
    interval = bootstrap(
        (differences,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def permutation_test_signs(differences: np.ndarray, seed: int) -> tuple[float, bool]:
    """(two-sided p-value, whether every sign pattern was counted). Problems without a difference change nothing."""
    from scipy.stats import permutation_test  # slow to import, and a list of runs does not need it

    nonzero = differences[differences != 0]
    if len(nonzero) < 2:  # with one difference both signs are equally far from 0
        return 1.0, True
    exact = len(nonzero) <= MAX_EXACT
    result = permutation_test(
        (nonzero, np.zeros_like(nonzero)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**MAX_EXACT if exact else RESAMPLES,
        batch=1_000,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue), exact


def mcnemar_test(a: Sequence[bool], b: Sequence[bool]) -> McNemar:
    """McNemar's exact test, for one answer of each model to each problem.

    Only problems count that one model solves and the other does not. Without a difference each of them is a fair coin.
    """
    from scipy.stats import binomtest  # slow to import, and a list of runs does not need it

    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    differ = only_a + only_b
    return McNemar(only_a, only_b, float(binomtest(only_b, differ).pvalue) if differ else 1.0)
