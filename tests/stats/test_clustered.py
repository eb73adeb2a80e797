"""Paired tests over seeds and problems, by hand and by simulation."""

import numpy as np
import pytest

from tipx.stats.clustered import adjust_holm, compare_over_seeds, compare_two_way


def test_two_way_by_hand() -> None:
    from scipy.stats import t

    # Seeds' means 1 and 3: 2 +- sqrt(2/2), 1 degree of freedom, which is the wider of the two.
    alone = compare_two_way(np.array([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]))
    assert (alone.difference, alone.p) == (2, pytest.approx(2 * t.sf(2, 1)))
    # Seeds' means 2 and 2.2, problems' 0.1, 2.1, 4.1: variances 0.01 and 4/3, and 0.01^2/1 + (4/3)^2/2 for the spread.
    both = compare_two_way(np.array([[0.0, 2.0, 4.0], [0.2, 2.2, 4.2]]))
    variance = 0.01 + 4 / 3
    freedom = variance**2 / (0.01**2 + (4 / 3) ** 2 / 2)
    assert both.p == pytest.approx(2 * t.sf(2.1 / np.sqrt(variance), freedom))
    assert both.high - 2.1 == pytest.approx(t.ppf(0.975, freedom) * np.sqrt(variance))


@pytest.mark.parametrize(
    ("lines", "of_seeds", "of_problems", "wider"),
    [
        # Means of seeds 2 and 2.2, of problems 0.1, 2.1 and 4.1.
        ([[0.0, 2.0, 4.0], [0.2, 2.2, 4.2]], 0.02 / 2, 4 / 3, "both"),
        # Means of seeds 2 and 4, of problems 2.9, 3 and 3.1.
        ([[1.9, 2.0, 2.1], [3.9, 4.0, 4.1]], 2 / 2, 0.01 / 3, "seeds"),
    ],
)
def test_the_wider_interval_counts(lines: list[list[float]], of_seeds: float, of_problems: float, wider: str) -> None:
    from scipy.stats import t

    variance = of_seeds + of_problems
    freedom = variance**2 / (of_seeds**2 / 1 + of_problems**2 / 2)
    reach = {"both": t.ppf(0.975, freedom) * np.sqrt(variance), "seeds": t.ppf(0.975, 1) * np.sqrt(of_seeds)}
    assert max(reach, key=lambda name: reach[name]) == wider
    found = compare_two_way(np.array(lines))
    assert found.high - found.difference == pytest.approx(reach[wider])
    assert found.difference - found.low == pytest.approx(reach[wider])


def test_over_seeds_by_hand() -> None:
    # (1, 1, 2): mean 4/3, deviation 1 / sqrt(3), error 1/3: t = 4, p = 1 - 4 / sqrt(18) at 2 degrees of freedom, and
    # the 97.5 % point is 0.95 / sqrt(2 * 0.975 * 0.025) = 4.3027.
    found = compare_over_seeds([1.0, 1.0, 2.0])
    assert (found.difference, found.p) == pytest.approx((4 / 3, 1 - 4 / np.sqrt(18)))
    assert (found.low, found.high) == pytest.approx((4 / 3 - 4.30265273 / 3, 4 / 3 + 4.30265273 / 3))
    assert compare_over_seeds([-1.0, -1.0, -2.0]).difference == pytest.approx(-4 / 3)
    with pytest.raises(ValueError, match="two seeds"):
        compare_over_seeds([1.0])


def test_over_seeds_is_the_paired_t_test() -> None:
    from scipy.stats import ttest_1samp

    values = [0.1, 0.4, -0.05, 0.3]
    assert compare_over_seeds(values).p == pytest.approx(ttest_1samp(values, 0).pvalue)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.04: times 3, 2, 1, and never less than the one before.
    assert adjust_holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert adjust_holm([0.9, 0.8]) == [1.0, 1.0]


def test_nothing_varies() -> None:
    assert compare_two_way(np.zeros((2, 3))).p == 1
    assert compare_two_way(np.ones((2, 3))).p == 0


@pytest.mark.parametrize("shape", [(1, 5), (3, 1)])
def test_too_few(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="two seeds and two problems"):
        compare_two_way(np.ones(shape))


# Standard deviations of the differences that belong to a seed, to a problem, and to neither.
@pytest.mark.parametrize("spread", [(0.0, 0.0, 0.3), (0.0, 0.3, 0.3), (0.02, 0.1, 0.3), (0.1, 0.1, 0.3)])
@pytest.mark.parametrize("seeds", [3, 5])
def test_a_true_null_is_called_a_find_one_time_in_twenty_or_less(seeds: int, spread: tuple[float, ...]) -> None:
    rng, trials, problems = np.random.default_rng(0), 1500, 60
    of_seed, of_problem, rest = spread
    finds = 0
    for _ in range(trials):
        difference_SP = rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, of_problem, (1, problems))
        finds += compare_two_way(difference_SP + rng.normal(0, rest, (seeds, problems))).p < 0.05
    # 5 % and three standard errors of 1500 trials.
    assert finds / trials < 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)


def test_a_difference_between_every_seed_is_found() -> None:
    rng = np.random.default_rng(0)
    assert compare_two_way(0.1 + rng.normal(0, 0.01, (3, 1)) + rng.normal(0, 0.2, (3, 500))).p < 0.05
