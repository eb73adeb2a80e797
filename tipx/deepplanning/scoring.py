"""Both domains' numbers over all tasks, and the leaderboard's, which joins them."""

from collections.abc import Mapping, Sequence

from tipx.deepplanning.shopping import scoring as shopping
from tipx.deepplanning.travel import scoring as travel

SAMPLE = "sample"
LEVELS = frozenset({"shopping_l1", "shopping_l2", "shopping_l3"})

Scored = Sequence[tuple[str, Mapping[str, float]]]


def aggregate(scores: Scored) -> dict[str, float]:
    """From (slice, scores) of a trajectory of each task: each slice's, each domain's, and `avg_acc`.

    `avg_acc` is the mean of travel's case accuracy, both languages counting alike, and shopping's case score over all
    levels: it is there if all five slices are, or the whole sample.
    """
    journeys = [(name, dict(one)) for name, one in scores if travel.HEADLINE in one]
    carts = [(name, one) for name, one in scores if shopping.HEADLINE in one]
    found = travel.aggregate(journeys) if journeys else {}
    levels = {name: [cart for cart in carts if cart[0] == name] for name, _ in carts}
    for name, some in (levels if levels.keys() - {SAMPLE} else {}).items():
        found |= {f"{name}/{metric}": value for metric, value in shopping.aggregate(some).items()}
    if carts:
        found |= {f"shopping/{metric}": value for metric, value in shopping.aggregate(carts).items()}
    accuracy = found.get(f"travel/{travel.HEADLINE}", found.get(f"{SAMPLE}/{travel.HEADLINE}"))
    if accuracy is not None and levels.keys() in (LEVELS, {SAMPLE}):
        found["avg_acc"] = (accuracy + found["shopping/weighted_average_case_score"]) / 2
    return found
