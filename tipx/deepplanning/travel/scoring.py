"""Scores of one plan, and their means over tasks.

`hard_constraint_rate` is the metric of TIP (arXiv 2604.14084, Table 7): the share of hard constraints that a plan
meets. The benchmark's own `personalized_score` is 1 only if all are met; the two must not be confused.
"""

from collections.abc import Mapping, Sequence

from tipx.deepplanning.travel.checks import CHECKS, DIMENSIONS
from tipx.deepplanning.travel.database import Database
from tipx.deepplanning.travel.hard import met
from tipx.deepplanning.travel.parse import PLAN_PARSE, Parsed
from tipx.deepplanning.travel.trip import Trip

__all__ = ["HEADLINE", "PLAN_PARSE", "aggregate", "score"]

HEADLINE = "case_acc"
LANGUAGES = ("travel_en", "travel_zh")
Scores = dict[str, float]


def score(parsed: Parsed, trip: Trip, db: Database) -> Scores:
    """Everything by name, each in 0..1 but `parse_failures`; no plan, no points.

    "check/NAME" says whether one of the 21 checks passed, "dimension/NAME" whether all of a dimension did, "hard/NAME"
    whether a hard constraint is met; `delivered` is 1 if there is a plan.
    """
    checks = run_checks(parsed, trip, db)
    dimensions = {name: all(checks[check.__name__] for check in group) for name, group in DIMENSIONS.items()}
    hard = dict.fromkeys(trip.hard, False) if parsed.plan is None else met(parsed.plan, trip)
    commonsense = sum(dimensions.values()) / len(dimensions)
    personalized = float(bool(hard) and all(hard.values()))
    return {
        HEADLINE: float(commonsense == 1.0 == personalized),
        "composite_score": (commonsense + personalized) / 2,
        "commonsense_score": commonsense,
        "personalized_score": personalized,
        "hard_constraint_rate": sum(hard.values()) / len(hard) if hard else 0.0,
        "delivered": float(parsed.plan is not None),
        "parse_failures": float(parsed.failures),
        **prefixed("dimension", dimensions),
        **prefixed("check", checks),
        **prefixed("hard", hard),
    }


def run_checks(parsed: Parsed, trip: Trip, db: Database) -> dict[str, bool]:
    """Each check by its name; a plan without a day passes none."""
    plan = parsed.plan
    return {name: plan is not None and bool(plan.days) and check(plan, trip, db) for name, check in CHECKS.items()}


def prefixed(prefix: str, values: Mapping[str, bool]) -> Scores:
    return {f"{prefix}/{name}": float(value) for name, value in values.items()}


def aggregate(scores: Sequence[tuple[str, dict[str, float]]]) -> Scores:
    """Means over tasks by slice, as "travel_en/case_acc"; over both languages with equal weight, as "travel/case_acc".

    The mean of `delivered` is named delivery_rate. Hard constraints differ from task to task and have no mean each.
    """
    slices = {name: [values for slice_, values in scores if slice_ == name] for name, _ in scores}
    means = {name: mean(rows) for name, rows in slices.items()}
    found = {f"{name}/{metric}": value for name, row in means.items() for metric, value in row.items()}
    if all(language in means for language in LANGUAGES):
        found |= {f"travel/{metric}": value for metric, value in mean([means[name] for name in LANGUAGES]).items()}
    return found


def mean(rows: Sequence[Mapping[str, float]]) -> Scores:
    """Of every metric, over rows that all have the same."""
    names = [name for name in rows[0] if not name.startswith("hard/")]
    return {
        {"delivered": "delivery_rate"}.get(name, name): sum(row[name] for row in rows) / len(rows) for name in names
    }
