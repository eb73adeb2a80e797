"""Accuracy, pass@k and standard errors against enumeration, numpy and scipy."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import sem

from tipx.stats.estimates import (
    best_at_k,
    majority_at_k,
    mean_and_error,
    pass_at_k,
    powers_of_two,
    ratio_and_error,
    standard_error,
)


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_draws_with_a_correct_one(n: int) -> None:
    for correct in range(n + 1):
        samples = [1] * correct + [0] * (n - correct)
        for k in range(1, n + 1):
            draws = list(combinations(samples, k))
            assert pass_at_k(n, correct, k) == pytest.approx(sum(map(max, draws)) / len(draws), abs=1e-12)


def test_pass_at_k_by_hand() -> None:
    # 2 of 4 correct: of the 6 pairs only one has none, so 5/6; pass@1 is the accuracy.
    assert pass_at_k(4, 2, 2) == pytest.approx(5 / 6)
    assert pass_at_k(4, 2, 1) == 0.5
    assert pass_at_k(16, 0, 8) == 0.0
    assert pass_at_k(16, 1, 16) == 1.0
    # The biased estimate 1 - (1 - c/n)^k would be 1 - 0.75^2 = 0.4375 here.
    assert pass_at_k(4, 1, 2) == 0.5


def test_pass_at_k_stays_exact_for_many_samples() -> None:
    # 1 - prod over i < 100 of (999 - i) / (1000 - i) = 1 - 900/1000.
    assert pass_at_k(1000, 1, 100) == pytest.approx(0.1, abs=1e-12)


@pytest.mark.parametrize(("n", "correct", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5), (0, 0, 1)])
def test_pass_at_k_of_the_impossible(n: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"n={n}, correct={correct}, k={k}"):
        pass_at_k(n, correct, k)


@pytest.mark.parametrize("n", [2, 3, 30, 500])
def test_standard_error(n: int) -> None:
    values = np.random.default_rng(n).random(n)
    mean, error = mean_and_error(values.tolist())
    assert mean == pytest.approx(values.mean(), rel=1e-12)
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(n), rel=1e-12)
    assert error == pytest.approx(sem(values), rel=1e-12)


def test_standard_error_by_hand() -> None:
    # 1, 1, 0, 0: mean 1/2, variance (4 * 1/4) / 3 = 1/3, error sqrt(1/3 / 4) = sqrt(1/12).
    assert mean_and_error([1, 1, 0, 0]) == (0.5, pytest.approx(12**-0.5))
    assert mean_and_error([1.0, 1.0, 1.0]) == (1.0, 0.0)


def test_one_value_has_no_error_and_none_has_no_mean() -> None:
    assert mean_and_error([0.25]) == (0.25, None)
    assert standard_error([]) is None
    with pytest.raises(ValueError, match="no values"):
        mean_and_error([])


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (16, [1, 2, 4, 8, 16]), (20, [1, 2, 4, 8, 16, 20])],
)
def test_powers_of_two(n: int, expected: list[int]) -> None:
    assert powers_of_two(n) == expected


def test_majority_by_hand() -> None:
    right, wrong, other = ("a", 1.0), ("b", 0.0), ("c", 0.0)
    assert majority_at_k([right, right, wrong, None], 4) == 1
    assert majority_at_k([right, wrong, wrong, None], 4) == 0
    # Two of three equally common answers are wrong.
    assert majority_at_k([right, wrong, other], 3) == pytest.approx(1 / 3)
    assert majority_at_k([None, None], 2) == 0
    # Blocks (right, right) and (wrong, None); the fifth is left over.
    assert majority_at_k([right, right, wrong, None, right], 2) == 0.5
    assert majority_at_k([right, wrong], 1) == 0.5
    with pytest.raises(ValueError, match="k=3"):
        majority_at_k([right], 3)


def test_best_by_hand() -> None:
    # Of 0, 0.5 and 1 the pairs are (0, 0.5), (0, 1), (0.5, 1): best 0.5, 1, 1.
    assert best_at_k([1.0, 0.0, 0.5], 2) == pytest.approx(2.5 / 3)
    assert best_at_k([1.0, 0.0, 0.5], 1) == pytest.approx(0.5)
    assert best_at_k([1.0, 0.0, 0.5], 3) == 1
    with pytest.raises(ValueError, match="k=4"):
        best_at_k([1.0, 0.0, 0.5], 4)


def test_a_mean_over_the_items_of_groups_by_hand() -> None:
    # Groups of 1 and 3 items with sums 2 and 3: 5/4. Residuals 2 - 1.25 = 0.75 and 3 - 3.75 = -0.75, over the mean
    # size 2: +-0.375, whose error is 0.375 sqrt(2) / sqrt(2).
    assert ratio_and_error([2.0, 3.0], [1, 3]) == pytest.approx((1.25, 0.375))
    assert ratio_and_error([2.0, 4.0], [2, 4]) == (1.0, 0.0)
    assert ratio_and_error([2.0], [4]) == (0.5, None)
    with pytest.raises(ValueError, match="no values"):
        ratio_and_error([0.0], [0])
