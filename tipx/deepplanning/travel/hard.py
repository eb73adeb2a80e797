"""Hard constraints: whether the plan holds the very train, flight, hotel, restaurant or sights that are asked for.

The kind of a constraint is how its name begins; its answer stands in the query file. As in the official scorer, a
journey with no number to match holds, and anything else without an answer does not.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tipx.deepplanning.travel.checks.money import cost
from tipx.deepplanning.travel.plan import INTERCITY, TravelPlan
from tipx.deepplanning.travel.trip import Trip

Answer = Mapping[str, Any]


def met(plan: TravelPlan, trip: Trip) -> dict[str, bool]:
    """Each hard constraint of the trip by its name, and whether the plan meets it; unknown kinds are left out."""
    kinds = {
        name: "budget_constraint" if name == "budget_constraint" else f"{name.split('_')[0]}_" for name in trip.hard
    }
    return {name: KINDS[kind](trip.hard[name], plan, trip) for name, kind in kinds.items() if kind in KINDS}


def flight(answer: Answer, plan: TravelPlan, trip: Trip) -> bool:
    return numbers(answer, "flight") <= taken(plan, "flight")


def train(answer: Answer, plan: TravelPlan, trip: Trip) -> bool:
    return numbers(answer, "train") <= taken(plan, "train")


def hotel(answer: Answer, plan: TravelPlan, trip: Trip) -> bool:
    """By the days' heads alone; the last day's counts too."""
    return answer.get("hotel_name") in {day.stay.name for day in plan.days if day.stay} - {""}


def restaurant(answer: Answer, plan: TravelPlan, trip: Trip) -> bool:
    return answer.get("restaurant_name") in {meal.name for meal in plan.of("meal")} - {""}


def attraction(answer: Answer, plan: TravelPlan, trip: Trip) -> bool:
    wanted = set(answer.get("attraction_names") or ())
    return bool(wanted) and wanted <= {sight.name for sight in plan.of("attraction")}


def budget(answer: Answer, plan: TravelPlan, trip: Trip) -> bool:
    """By the sum of the plan's prices, not by the total it claims."""
    try:
        most = float(answer["max_budget"])
    except (KeyError, TypeError, ValueError):
        return False
    return bool(plan.days) and cost(plan, trip) <= most


def numbers(answer: Answer, mode: str) -> set[Any]:
    """The numbers that are asked for, out and back."""
    keys = (f"outbound_{mode}_no", f"inbound_{mode}_no")
    return {answer[key] for key in keys if key in answer}


def taken(plan: TravelPlan, mode: str) -> set[str]:
    return {journey.number for journey in plan.of(INTERCITY) if journey.mode == mode}


KINDS: dict[str, Callable[[Answer, TravelPlan, Trip], bool]] = {
    "flight_": flight,
    "train_": train,
    "hotel_": hotel,
    "restaurant_": restaurant,
    "attraction_": attraction,
    "budget_constraint": budget,
}
