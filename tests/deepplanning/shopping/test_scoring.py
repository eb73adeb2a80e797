"""Scores by hand, with what the benchmark forgives."""

import pytest

from tests.deepplanning.shopping.conftest import BRAND, CROSS
from tipx.deepplanning.shopping.scoring import Truth, aggregate, score

TRUTH = Truth(frozenset({"a", "b"}), {CROSS: 2})


@pytest.mark.parametrize(
    ("items", "coupons", "expected"),
    [
        ({"a": 1, "b": 1}, {CROSS: 2}, {"case_score": 1, "matched": 3, "exact": 1, "extra_products": 0}),
        # quantities of products and what else is in the cart cost nothing
        ({"a": 9, "b": 1, "c": 1, "d": 4}, {CROSS: 2}, {"case_score": 1, "extra_products": 2, "exact": 0}),
        ({"a": 1, "b": 1}, {CROSS: 1}, {"case_score": 0, "matched": 2, "extra_coupons": 1}),
        ({"a": 1, "b": 1}, {CROSS: 2, BRAND: 1}, {"case_score": 1, "extra_coupons": 1, "exact": 0}),
        ({"a": 1}, {CROSS: 2}, {"case_score": 0, "matched": 2, "match_rate": 2 / 3}),
        ({}, {}, {"case_score": 0, "matched": 0, "expected": 3, "match_rate": 0}),
    ],
)
def test_a_case(items: dict[str, int], coupons: dict[str, int], expected: dict[str, float]) -> None:
    found = score(TRUTH, items, coupons, complete=True)
    assert {key: found[key] for key in expected} == expected
    assert found["incomplete"] == 0


def test_an_empty_answer_is_solved_by_any_cart_and_matched_by_none() -> None:
    found = score(Truth(frozenset(), {}), {"a": 1}, {}, complete=False)
    assert (found["case_score"], found["match_rate"], found["exact"], found["incomplete"]) == (1, 0, 0, 1)


def test_over_cases() -> None:
    good = score(TRUTH, {"a": 1, "b": 1}, {CROSS: 2}, complete=True)
    poor = score(Truth(frozenset({"a"}), {}), {"c": 1}, {}, complete=False)
    found = aggregate([("shopping_l1", good), ("shopping_l1", good), ("shopping_l2", poor)])
    # 2 of 3 cases; 6 of 7 wanted; level 2 has all of its cases cut off.
    assert found == pytest.approx(
        {
            "weighted_average_case_score": 2 / 3,
            "match_rate": 6 / 7,
            "exact": 2 / 3,
            "extra_products": 1,
            "incomplete_rate": 1 / 3,
            "valid": 0,
        }
    )
    with pytest.raises(ValueError, match="no cases"):
        aggregate([])


@pytest.mark.parametrize(("cut", "valid"), [(1, 1.0), (2, 0.0)])
def test_a_tenth_of_a_level_may_be_cut_off(cut: int, valid: float) -> None:
    cases = [("shopping_l1", score(TRUTH, {}, {}, complete=at >= cut)) for at in range(10)]
    assert aggregate(cases)["valid"] == valid
