"""Paired tests against arithmetic by hand.

A is right on none, B on 3 of 4 problems: sign flips of (1, 1, 1) give |sum| = 3 in 2 of 8 ways, so p = 1/4.
"""

import numpy as np
import pytest

from tipx.stats.paired import compare_means, mcnemar_test


def test_by_hand() -> None:
    found = compare_means([0, 0, 0, 0], [1, 1, 1, 0])
    assert (found.difference, found.exact) == (0.75, True)
    assert found.p == pytest.approx(0.25)
    assert found.low is not None
    assert found.low < 0.75 <= (found.high or 0) <= 1


def test_no_difference_and_one_problem() -> None:
    same = compare_means([0.5, 1, 0], [0.5, 1, 0])
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    one = compare_means([0], [1])
    assert (one.low, one.high, one.p) == (None, None, 1.0)
    with pytest.raises(ValueError, match="one value of each"):
        compare_means([], [])


def test_swapping_the_sides_swaps_the_sign() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(40), rng.random(40)
    ab, ba = compare_means(a.tolist(), b.tolist()), compare_means(b.tolist(), a.tolist())
    assert ab.difference == pytest.approx(-ba.difference)
    assert not ab.exact
    assert ab.p == pytest.approx(ba.p, abs=0.03)
    # The normal interval is near: 40 even draws.
    spread = 1.96 * (b - a).std(ddof=1) / 40**0.5
    assert (ab.low, ab.high) == pytest.approx((ab.difference - spread, ab.difference + spread), abs=0.03)


def test_mcnemar() -> None:
    # 1 against 5 of 6 that differ: 2 * (C(6,0) + C(6,1)) / 64.
    found = mcnemar_test([True] + [False] * 5 + [True], [False] + [True] * 5 + [True])
    assert (found.only_a, found.only_b, found.p) == (1, 5, pytest.approx(2 * 7 / 64))
    assert mcnemar_test([True], [True]).p == 1


@pytest.mark.parametrize(("moved", "exact"), [(16, True), (17, False)])
def test_every_way_is_counted_up_to_sixteen_problems(moved: int, exact: bool) -> None:
    # Problems without a difference do not count: all the others moved one way, so 2 of 2^16 ways are as far from 0.
    found = compare_means([0.0] * (moved + 5), [0.5] * moved + [0.0] * 5)
    assert found.exact == exact
    if exact:
        assert found.p == pytest.approx(2 / 2**16)


def test_problems_without_a_difference_change_no_p() -> None:
    # (1, 1, 1) and (2, 1, 1): 2 of 8 ways each, whatever stands still beside them.
    for values in ([1.0, 1.0, 1.0], [2.0, 1.0, 1.0]):
        assert compare_means([0.0] * 23, values + [0.0] * 20).p == pytest.approx(0.25)
    # (2, 1, -1): sums of 2 or more in 4 of 8 ways.
    assert compare_means([0.0] * 3, [2.0, 1.0, -1.0]).p == pytest.approx(0.75)


def test_the_interval_covers_95_in_100() -> None:
    # Of 40 draws the bootstrap's interval is near mean +- 1.96 errors, and far from +- 1.64.
    rng = np.random.default_rng(1)
    b = rng.normal(0, 1, 400)
    found = compare_means([0.0] * 400, b.tolist())
    error = b.std(ddof=1) / 20
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / (2 * error) == pytest.approx(1.96, abs=0.1)
