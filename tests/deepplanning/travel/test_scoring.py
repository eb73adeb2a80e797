"""Gold plans score 1.0 on everything; what is broken in one way fails in that way alone; the benchmark's own traps."""

import pytest

from tests.deepplanning.travel.broken import BROKEN, broken_hard
from tests.deepplanning.travel.worlds import Case, first_gold, gold
from tipx.deepplanning.travel.checks import CHECKS, DIMENSIONS
from tipx.deepplanning.travel.parse import Parsed
from tipx.deepplanning.travel.plan import Day, TravelPlan
from tipx.deepplanning.travel.sample import RECIPES, samples
from tipx.deepplanning.travel.sample.wishes import WISHES
from tipx.deepplanning.travel.scoring import aggregate, score

HARD = [(number, name) for number, (_, _, wishes) in enumerate(RECIPES) for name in wishes]


def scores(case: Case) -> dict[str, float]:
    return score(Parsed(case.plan), case.trip, case.db)


def failed(found: dict[str, float], prefix: str) -> set[str]:
    return {name.removeprefix(prefix) for name, value in found.items() if name.startswith(prefix) and not value}


def test_there_are_21_checks_in_eight_dimensions() -> None:
    assert [len(checks) for checks in DIMENSIONS.values()] == [3, 4, 4, 2, 3, 2, 1, 2]
    assert len(CHECKS) == 21 == len(BROKEN)


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_a_gold_plan_scores_one_on_everything(number: int) -> None:
    found = scores(gold(samples()[number]))
    assert found.pop("parse_failures") == 0
    assert set(found.values()) == {1.0}
    assert len(found) == 6 + 8 + 21 + len(RECIPES[number][2])


@pytest.mark.parametrize("name", CHECKS)
def test_a_plan_that_is_broken_in_one_way_fails_that_check_alone(name: str) -> None:
    found = scores(BROKEN[name](first_gold()))
    assert failed(found, "check/") == {name}
    assert failed(found, "dimension/") == {d for d, checks in DIMENSIONS.items() if CHECKS[name] in checks}
    assert found["commonsense_score"] == 7 / 8
    assert found["personalized_score"] == 1
    assert found["composite_score"] == (7 / 8 + 1) / 2
    assert found["case_acc"] == 0


@pytest.mark.parametrize(("number", "name"), HARD)
def test_a_hard_constraint_that_is_missed_fails_alone(number: int, name: str) -> None:
    found = scores(broken_hard(number, name))
    count = len(RECIPES[number][2])
    assert failed(found, "hard/") == {name}
    assert found["personalized_score"] == 0
    assert found["hard_constraint_rate"] == (count - 1) / count


def test_every_kind_of_wish_is_in_some_task() -> None:
    assert {name for _, name in HARD} == {*WISHES, "budget_constraint"}


def test_empty_days_score_five_dimensions_of_eight() -> None:
    # Sandbox, time, hours, duration and diversity ask that nothing be wrong; nothing is.
    case = first_gold()
    found = score(Parsed(TravelPlan((Day(), Day()))), case.trip, case.db)
    assert found["commonsense_score"] == 0.625
    assert found["composite_score"] == 0.3125
    assert (found["delivered"], found["case_acc"]) == (1, 0)
    # Doing nothing is within the budget, too: one of five hard constraints.
    assert (failed(found, "hard/"), found["hard_constraint_rate"]) == (set(case.trip.hard) - {"budget_constraint"}, 0.2)


def test_a_plan_without_a_day_and_no_plan_score_nothing() -> None:
    case = first_gold()
    for parsed, delivered in ((Parsed(TravelPlan(())), 1), (Parsed(None, 3), 0)):
        found = score(parsed, case.trip, case.db)
        assert found.pop("delivered") == delivered
        assert found.pop("parse_failures") == parsed.failures
        assert set(found.values()) == {0.0}


def test_the_means_are_over_slices_and_both_languages_weigh_the_same() -> None:
    case = first_gold()
    good, bad = scores(case), score(Parsed(None), case.trip, case.db)
    found = aggregate([("travel_en", good), ("travel_en", bad), ("travel_en", bad), ("travel_zh", good)])
    assert found["travel_en/case_acc"] == found["travel_en/delivery_rate"] == pytest.approx(1 / 3)
    assert found["travel_zh/case_acc"] == 1
    assert found["travel/case_acc"] == found["travel/check/no_time_overlaps"] == pytest.approx(2 / 3)
    assert not [name for name in found if "hard/" in name]
    assert not [name for name in aggregate([("sample", good)]) if name.startswith("travel/")]
    assert aggregate([]) == {}
