"""Accuracy, pass@k, maj@k and standard errors. This module needs no torch."""

from collections.abc import Sequence
from math import comb, sqrt
from statistics import fmean, stdev


def standard_error(values: Sequence[float]) -> float | None:
    """The standard error of the mean: sample standard deviation / sqrt(n). None for fewer than two values."""
    return stdev(values) / sqrt(len(values)) if len(values) > 1 else None


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and its standard error. Raises ValueError if there are no values: their accuracy is not 0."""
    if not values:
        raise ValueError("the mean of no values is not defined")
    return fmean(values), standard_error(values)


def ratio_and_error(sums: Sequence[float], counts: Sequence[int]) -> tuple[float, float | None]:
    """The mean over all items of several groups, and its standard error over groups.

    Group g has `counts[g]` items, whose values add up to `sums[g]`. Items of one group (tokens of a text) are not
    independent draws, groups are. So the error is that of a ratio of two means: with r = sum(sums) / sum(counts) and n
    the mean count, it is the standard error of (sums[g] - r counts[g]) / n.
    """
    total, size = sum(sums), sum(counts)
    if size == 0:
        raise ValueError("the mean of no values is not defined")
    mean, mean_count = total / size, size / len(counts)
    return mean, standard_error([(s - mean * n) / mean_count for s, n in zip(sums, counts, strict=True)])


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased estimate of P(at least one of k samples is correct), from `correct` of n samples (arXiv 2107.03374).

    It is 1 - C(n - correct, k) / C(n, k): the share of the sets of k samples that hold a correct one.
    """
    if not 0 <= correct <= n or not 1 <= k <= n:
        raise ValueError(f"need 0 <= correct <= n and 1 <= k <= n, got n={n}, correct={correct}, k={k}")
    return 1.0 - comb(n - correct, k) / comb(n, k)


def best_at_k(values: Sequence[float], k: int) -> float:
    """The expected best of k draws without replacement from a task's values. For values 0 and 1 it is `pass_at_k`."""
    n = len(values)
    if not 1 <= k <= n:
        raise ValueError(f"need 1 <= k <= {n} values, got k={k}")
    # Value i in ascending order, from 0, is the best of the C(i, k - 1) sets of it and k - 1 smaller values.
    return sum(value * comb(i, k - 1) for i, value in enumerate(sorted(values))) / comb(n, k)


def powers_of_two(n: int) -> list[int]:
    """1, 2, 4, ... up to n, and n itself. pass@k is reported for these k."""
    ks = [2**i for i in range(n.bit_length()) if 2**i <= n]
    return ks if ks[-1] == n else [*ks, n]


def majority_at_k(ballots: Sequence[tuple[object, float] | None], k: int) -> float:
    """Accuracy of the most common answer among k samples, as the mean over consecutive blocks of k.

    A ballot is (answer, value of the answer). None is a sample without an answer and has no vote. Several answers that
    are equally common count with their mean value, as if one were drawn at random. A block without votes counts 0.
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
