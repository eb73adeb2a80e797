"""Accuracy, pass@k, maj@k and standard errors. No torch here."""

from collections.abc import Sequence
from math import comb, sqrt
from statistics import fmean, stdev


def standard_error(values: Sequence[float]) -> float | None:
    """Of the mean: sample standard deviation / sqrt(n); None for fewer than two values."""
    return stdev(values) / sqrt(len(values)) if len(values) > 1 else None


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and its standard error; raises ValueError for no values (the accuracy of nothing is not 0)."""
    if not values:
        raise ValueError("the mean of no values is not defined")
    return fmean(values), standard_error(values)


def ratio_and_error(sums: Sequence[float], counts: Sequence[int]) -> tuple[float, float | None]:
    """Mean over all items of groups that hold `counts` of them, and its standard error over groups.

    The items of one group (tokens of a text) are no independent draws: the error is that of a ratio of two means.
    """
    total, size = sum(sums), sum(counts)
    if size == 0:
        raise ValueError("the mean of no values is not defined")
    mean, each = total / size, size / len(counts)
    return mean, standard_error([(s - mean * n) / each for s, n in zip(sums, counts, strict=True)])


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased estimate of P(at least one of k samples is correct) from `correct` of n (arXiv 2107.03374)."""
    if not 0 <= correct <= n or not 1 <= k <= n:
        raise ValueError(f"need 0 <= correct <= n and 1 <= k <= n, got n={n}, correct={correct}, k={k}")
    return 1.0 - comb(n - correct, k) / comb(n, k)


def best_at_k(values: Sequence[float], k: int) -> float:
    """Expected best of k draws without replacement from a task's values; of 0s and 1s this is `pass_at_k`."""
    n = len(values)
    if not 1 <= k <= n:
        raise ValueError(f"need 1 <= k <= {n} values, got k={k}")
    # The i-th smallest, counted from 0, is the best of the C(i, k - 1) draws that hold it and k - 1 smaller ones.
    return sum(value * comb(i, k - 1) for i, value in enumerate(sorted(values))) / comb(n, k)


def powers_of_two(n: int) -> list[int]:
    """1, 2, 4, ... up to n, and n itself: the k at which pass@k is reported."""
    ks = [2**i for i in range(n.bit_length()) if 2**i <= n]
    return ks if ks[-1] == n else [*ks, n]


def majority_at_k(ballots: Sequence[tuple[object, float] | None], k: int) -> float:
    """Accuracy of the commonest answer among k samples, the mean over consecutive blocks of k.

    A ballot is what stands for the answer, and its value; None, a sample without an answer, has no vote. Among answers
    that are equally common one is drawn, which is what the expectation says. No votes at all are wrong.
    """
    if not 1 <= k <= len(ballots):
        raise ValueError(f"need 1 <= k <= {len(ballots)} samples, got k={k}")
    return fmean(_majority_accuracy(ballots[start : start + k]) for start in range(0, len(ballots) - k + 1, k))


def _majority_accuracy(ballots: Sequence[tuple[object, float] | None]) -> float:
    votes: dict[object, list[float]] = {}
    for ballot in ballots:
        if ballot is not None:
            votes.setdefault(ballot[0], []).append(ballot[1])
    most = max(map(len, votes.values()), default=0)
    return fmean(fmean(values) for values in votes.values() if len(values) == most) if votes else 0.0
