"""Paired tests against arithmetic by hand.

A is right on none, B on 3 of 4 problems: sign flips of (1, 1, 1) give |sum| = 3 in 2 of 8 ways, so p = 1/4.
"""

import numpy as np
import pytest

from tipx.paired import compare_means, mcnemar


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
    found = mcnemar([True] + [False] * 5 + [True], [False] + [True] * 5 + [True])
    assert (found.only_a, found.only_b, found.p) == (1, 5, pytest.approx(2 * 7 / 64))
    assert mcnemar([True], [True]).p == 1
