"""Is A better than B on the same problems? Tests for pairs. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 9_999
MAX_EXACT = 16
"""Problems that differ: 2^16 ways to swap A and B are counted one by one, more are drawn."""


@dataclass(frozen=True)
class Paired:
    """The mean of B - A, a confidence interval (None for one problem), and the p-value of "no difference"."""

    difference: float
    low: float | None
    high: float | None
    p: float
    exact: bool


@dataclass(frozen=True)
class McNemar:
    """Problems that only A, and that only B has right, and the exact p-value."""

    only_a: int
    only_b: int
    p: float


def compare_means(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Paired:
    """`a[i]` and `b[i]` are two models' accuracies on problem i; problems are the independent units.

    The interval is BCa bootstrap over problems, the test permutes which of the two is A in each problem.
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"need one value of each for each problem, got {len(a)} and {len(b)}")
    differences = np.subtract(b, a)
    low, high = bootstrap_interval(differences, seed)
    p, exact = permutation_test_signs(differences, seed)
    return Paired(fmean(differences.tolist()), low, high, p, exact)


def bootstrap_interval(differences: np.ndarray, seed: int) -> tuple[float | None, float | None]:
    """Bootstrap interval of the mean; (None, None) for one value."""
    from scipy.stats import bootstrap  # slow to import, and a list of runs needs none of it

    if len(differences) < 2:
        return None, None
    if np.ptp(differences) == 0:  # nothing varies, and BCa would divide by it
        return float(differences[0]), float(differences[0])
    found = bootstrap(
        (differences,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def permutation_test_signs(differences: np.ndarray, seed: int) -> tuple[float, bool]:
    """(two-sided p-value, whether every way was counted). Problems without a difference change nothing."""
    from scipy.stats import permutation_test  # slow to import, and a list of runs needs none of it

    moved = differences[differences != 0]
    if len(moved) < 2:  # either way of none or one is as far from 0
        return 1.0, True
    exact = len(moved) <= MAX_EXACT
    found = permutation_test(
        (moved, np.zeros_like(moved)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**MAX_EXACT if exact else RESAMPLES,
        batch=1_000,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue), exact


def mcnemar_test(a: Sequence[bool], b: Sequence[bool]) -> McNemar:
    """Exact, for one answer of each to each problem."""
    from scipy.stats import binomtest  # slow to import, and a list of runs needs none of it

    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    differ = only_a + only_b
    return McNemar(only_a, only_b, float(binomtest(only_b, differ).pvalue) if differ else 1.0)
