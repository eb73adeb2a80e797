"""How many tokens are kept, and which of tokens with equal scores."""

from collections.abc import Callable

import pytest

from tipx.errors import ConfigError
from tipx.selectors import Selector
from tipx.selectors.topk import TopK

Weights = Callable[..., list[list[int]]]


def budget(ratio: float, rounding: str = "floor", min_keep: int = 1) -> TopK:
    return TopK(ratio=ratio, scope="response", rounding=rounding, min_keep=min_keep)


@pytest.mark.parametrize(
    ("ratio", "m", "floor", "nearest", "ceil"),
    [
        (0.29, 100, 29, 29, 29),  # 0.29 * 100 is 28.999999999999996 in floats
        (0.07, 100, 7, 7, 7),  # 7.000000000000001: ceil of it would be 8
        (0.5, 5, 2, 3, 3),  # 2.5: a half goes up
        (0.3, 5, 1, 2, 2),  # 1.5
        (0.3, 4, 1, 1, 2),  # 1.2
        (0.1, 4, 0, 0, 1),  # 0.4
        (0.1, 5, 0, 1, 1),  # 0.5
        (1.0, 7, 7, 7, 7),
        (1e-5, 10, 0, 0, 1),
        (0.5, 0, 0, 0, 0),
    ],
)
def test_count(ratio: float, m: int, floor: int, nearest: int, ceil: int) -> None:
    counts = [budget(ratio, rounding, 0).count_kept(m) for rounding in ("floor", "round", "ceil")]
    assert counts == [floor, nearest, ceil]


def test_count_is_exact_for_every_percentage() -> None:
    for percent in range(1, 101):
        for m in (1, 3, 10, 50, 99, 100, 700, 8192):
            assert budget(percent / 100, min_keep=0).count_kept(m) == percent * m // 100, (percent, m)


def test_min_keep_is_a_floor_that_no_response_exceeds() -> None:
    assert budget(0.1).count_kept(4) == 1
    assert budget(0.1, min_keep=3).count_kept(4) == 3
    assert budget(0.9, min_keep=3).count_kept(10) == 9
    assert budget(0.1, min_keep=3).count_kept(2) == 2
    assert budget(0.1, min_keep=3).count_kept(0) == 0


def test_ratio_29_percent_of_100(make: Callable[..., Selector], weights: Weights) -> None:
    rising = [[float(i) for i in range(100)]]
    assert weights(make("selector=entropy_top", "ratio=0.29"), student_entropy=rising) == [[0] * 71 + [1] * 29]


@pytest.mark.parametrize(("rounding", "kept"), [("floor", [1, 2]), ("round", [2, 2]), ("ceil", [2, 3])])
def test_rounding_is_a_setting(rounding: str, kept: list[int], make: Callable[..., Selector], weights: Weights) -> None:
    # 0.3 * 5 = 1.5 and 0.3 * 8 = 2.4
    step = [[5.0, 4.0, 3.0, 2.0, 1.0], [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]]
    selector = make("selector=entropy_top", "ratio=0.3", f"selector.pick.rounding={rounding}")
    assert [sum(row) for row in weights(selector, student_entropy=step)] == kept


def test_min_keep_is_a_setting(make: Callable[..., Selector], weights: Weights) -> None:
    step = [[5.0, 4.0, 3.0], [1.0], []]
    for min_keep, expected in ((0, [[0, 0, 0], [0], []]), (1, [[1, 0, 0], [1], []]), (2, [[1, 1, 0], [1], []])):
        selector = make("selector=entropy_top", "ratio=0.1", f"selector.pick.min_keep={min_keep}")
        assert weights(selector, student_entropy=step) == expected


@pytest.mark.parametrize("pick", ["topk", "bottomk", "sample"])
def test_scope_step_is_one_budget_for_all(pick: str, make: Callable[..., Selector], weights: Weights) -> None:
    # floor(0.5 * 7) = 3 of the step. The three highest are 9, 8, 7, all of the first response; the three lowest are all
    # of the second; sampling must take the only three that are not 0.
    step = [[9, 8, 7, 0], [0, 0, 0]] if pick == "sample" else [[9, 8, 7, 6], [1, 2, 3]]
    whole = [[0, 0, 0, 0], [1, 1, 1]] if pick == "bottomk" else [[1, 1, 1, 0], [0, 0, 0]]
    base = ("selector/score=entropy", f"selector/pick={pick}", "ratio=0.5")
    assert weights(make(*base, "selector.pick.scope=step"), student_entropy=step) == whole
    # For each response: floor(0.5 * 4) = 2 and floor(0.5 * 3) = 1.
    assert [sum(row) for row in weights(make(*base), student_entropy=step)] == [2, 1]


@pytest.mark.parametrize("preset", ["soft_or", "bottom_soft_or", "q3_only", "div_only", "entropy_top"])
def test_ties_go_to_the_earlier_token(preset: str, make: Callable[..., Selector], weights: Weights) -> None:
    equal = {name: [[2.0] * 100, [2.0] * 30] for name in ("student_entropy", "reverse_kl", "forward_kl")}
    assert weights(make(f"selector={preset}", "ratio=0.2"), **equal) == [[1] * 20 + [0] * 80, [1] * 6 + [0] * 24]
    # Over the step: floor(0.9 * 130) = 117 = the whole first response and 17 of the second.
    step = make(f"selector={preset}", "ratio=0.9", "selector.pick.scope=step")
    assert weights(step, **equal) == [[1] * 100, [1] * 17 + [0] * 13]


def test_ties_at_the_edge_of_the_budget(make: Callable[..., Selector], weights: Weights) -> None:
    # Three of six: 5, then two of the four 3s, the earlier ones.
    step = [[3.0, 1.0, 3.0, 5.0, 3.0, 3.0]]
    assert weights(make("selector=entropy_top", "ratio=0.5"), student_entropy=step) == [[1, 0, 1, 1, 0, 0]]


def test_an_empty_mask_keeps_the_first_tokens_of_the_step(make: Callable[..., Selector], weights: Weights) -> None:
    # All equal: nothing is strictly above the median, so every token is Q4 and Q1 is empty.
    equal = {"student_entropy": [[], [1.0, 1.0], [1.0]], "reverse_kl": [[], [1.0, 1.0], [1.0]]}
    assert weights(make("selector=q4"), **equal) == [[], [1, 1], [1]]
    for min_keep, expected in ((0, [[], [0, 0], [0]]), (1, [[], [1, 0], [0]]), (9, [[], [1, 1], [1]])):
        assert weights(make("selector=q1", f"selector.pick.min_keep={min_keep}"), **equal) == expected


def test_quadrant_thresholds_are_settings(make: Callable[..., Selector], weights: Weights) -> None:
    # 0.8-quantile of 0..10 is 8, so 9 and 10 are unsure; 0.1-quantile of d 0..10 is 1, so 2..10 are wrong.
    rising = [[float(i) for i in range(11)]]
    thresholds = ("quadrants.entropy_quantile=0.8", "quadrants.divergence_quantile=0.1")
    expected = {1: [0] * 9 + [1] * 2, 3: [0] * 2 + [1] * 7 + [0] * 2, 4: [1] * 2 + [0] * 9}
    for quadrant, kept in expected.items():
        selector = make(f"selector=q{quadrant}", *thresholds)
        assert weights(selector, student_entropy=rising, reverse_kl=rising) == [kept]


@pytest.mark.parametrize("value", ["ratio=0", "ratio=1.01", "ratio=-0.1", "scope=batch", "rounding=up", "min_keep=-1"])
def test_impossible_budgets_are_refused(value: str, make: Callable[..., Selector]) -> None:
    key = value.partition("=")[0]
    with pytest.raises(ConfigError, match=key):
        make("selector=soft_or", value if key == "ratio" else f"selector.pick.{value}")
