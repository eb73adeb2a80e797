"""How a cart is scored, as the benchmark does, and what it leaves out.

A case is solved when every product of the answer is in the cart, in whatever quantity, and every coupon in exactly the
quantity of the answer. What else is in the cart costs nothing: a cart with the whole catalogue solves a case without
coupons, so `case_score` alone must never be trained on; `exact` is ours and wants nothing but the answer. An answer
that is empty is solved by any cart, with a match rate of 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

HEADLINE = "case_score"
MOST_INCOMPLETE = 0.1
"""Share of a level's cases that may be cut off before the benchmark calls the level's result invalid."""


@dataclass(frozen=True)
class Truth:
    """The answer of a case: product ids, and how many of which coupon."""

    products: frozenset[str]
    coupons: Mapping[str, int]


def score(truth: Truth, items: Mapping[str, int], coupons: Mapping[str, int], *, complete: bool) -> dict[str, float]:
    """Of one cart."""
    products = len(truth.products & items.keys())
    right = sum(truth.coupons.get(coupon) == count for coupon, count in coupons.items())
    matched, expected = products + right, len(truth.products) + len(truth.coupons)
    extra, extra_coupons = len(items.keys() - truth.products), len(coupons) - right
    solved = matched == expected
    return {
        "case_score": float(solved),
        "match_rate": matched / expected if expected else 0.0,
        "matched": float(matched),
        "expected": float(expected),
        "extra_products": float(extra),
        "extra_coupons": float(extra_coupons),
        "exact": float(solved and not extra and not extra_coupons and expected > 0),
        "incomplete": float(not complete),
    }


def aggregate(scores: Sequence[tuple[str, Mapping[str, float]]]) -> dict[str, float]:
    """Over (slice, scores) of cases, one or more; raises ValueError for none.

    The match rate is that of all products and coupons together, not the mean of the cases'. The mean of case scores is
    over cases, which is the levels' mean weighted by their sizes. `valid` is 1 when every slice is.
    """
    if not scores:
        raise ValueError("the score of no cases is not defined")
    parts = [case for _, case in scores]
    expected = sum(case["expected"] for case in parts)
    levels = {name: fmean(case["incomplete"] for other, case in scores if other == name) for name, _ in scores}
    return {
        "weighted_average_case_score": fmean(case["case_score"] for case in parts),
        "match_rate": sum(case["matched"] for case in parts) / expected if expected else 0.0,
        "exact": fmean(case["exact"] for case in parts),
        "extra_products": sum(case["extra_products"] for case in parts),
        "incomplete_rate": fmean(case["incomplete"] for case in parts),
        "valid": float(all(share <= MOST_INCOMPLETE for share in levels.values())),
    }
