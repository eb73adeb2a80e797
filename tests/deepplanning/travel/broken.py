"""For each of the 21 checks, a gold plan spoiled so that this check fails and no other."""

from collections.abc import Callable
from dataclasses import replace
from unittest.mock import patch

from tests.deepplanning.travel.worlds import Case, gold, with_activity, with_day, with_rows
from tipx.deepplanning.travel.clock import minute
from tipx.deepplanning.travel.plan import Activity, Stay, TravelPlan
from tipx.deepplanning.travel.sample import gold as making
from tipx.deepplanning.travel.sample import samples


def remade(case: Case, **changes: object) -> TravelPlan:
    """The first gold plan with another choice of places, timed anew."""
    sample = samples()[0]
    return making.plan(sample.world, replace(sample.choice, **changes), case.trip)


def a_third_day(case: Case) -> Case:
    return replace(case, trip=replace(case.trip, days=3))


def home_elsewhere(case: Case) -> Case:
    """A journey to another city, which the tables have."""
    last = case.plan.days[-1]
    ride = last.activities[-1]
    row = next(row for row in case.db.trains if row["train_no"] == ride.number)
    other = row | {"destination_city": "Elsewhere", "arr_station_name": "Elsewhere Halt", "dep_date": "2000-01-01"}
    plan = with_activity(case.plan, 1, "travel_intercity_public", 0, destination="Elsewhere Halt")
    plan = with_day(plan, 1, lambda day: replace(day, city=day.city.replace(case.trip.origin, "Elsewhere")))
    return replace(case, plan=plan, db=replace(case.db, trains=(*case.db.trains, other)))


def unknown_station(case: Case) -> Case:
    return replace(case, plan=with_activity(case.plan, 1, "travel_intercity_public", 0, destination="Nowhere Halt"))


def dearer_room(case: Case) -> Case:
    stay = case.plan.days[0].stay
    assert stay is not None
    return replace(
        case, plan=with_day(case.plan, 0, lambda day: replace(day, stay=Stay(stay.name, (stay.price or 0) + 1)))
    )


def dearer(kind: str) -> Callable[[Case], Case]:
    def change(case: Case) -> Case:
        (old, *_) = [a for a in case.plan.days[0].activities if a.kind == kind]
        return replace(case, plan=with_activity(case.plan, 0, kind, 0, cost=(old.cost or 0) + 1))

    return change


def bed_on_the_last_day(case: Case) -> Case:
    stay = case.plan.days[0].stay
    return replace(case, plan=with_day(case.plan, 1, lambda day: replace(day, stay=stay)))


def out_again_at_night(case: Case) -> Case:
    walk = Activity(kind="buffer", start="22:30", end="22:40", note="A walk")
    return replace(case, plan=with_day(case.plan, 0, lambda day: replace(day, activities=(*day.activities, walk))))


def dinner_after_lunch(case: Case) -> Case:
    with patch.object(making, "EVENING", 0), patch.object(making, "SPARE", 0):
        return replace(case, plan=remade(case))


def no_sight_on_the_last_day(case: Case) -> Case:
    plan = with_day(case.plan, 1, lambda day: replace(day, activities=day.activities[2:]))
    return replace(case, plan=plan)


def late_bus(case: Case) -> Case:
    (old, *_) = case.plan.days[0].of("travel_city")
    end = making.hhmm((minute(old.end) or 0) + 1)
    return replace(case, plan=with_activity(case.plan, 0, "travel_city", 0, end=end))


def lost_half_an_hour(case: Case) -> Case:
    old = case.plan.days[0].activities[-1]
    start = making.hhmm((minute(old.start) or 0) + 30)
    return replace(case, plan=with_activity(case.plan, 0, "hotel", -1, start=start))


def table(name: str, column: str, kind: str, **cells: str) -> Callable[[Case], Case]:
    """Spoils the tables' row of the first day's first place of a kind."""

    def change(case: Case) -> Case:
        place = case.plan.days[0].of(kind)[0].name  # type: ignore[arg-type]
        return replace(case, db=with_rows(case.db, name, column, place, **cells))

    return change


def quick_dinner(case: Case) -> Case:
    plan = with_activity(case.plan, 0, "buffer", -1, end="18:05")
    return replace(case, plan=with_activity(plan, 0, "meal", 1, start="18:05"))


def wrong_total(case: Case) -> Case:
    return replace(case, plan=replace(case.plan, total=(case.plan.total or 0) * 1.2))


def same_restaurant(case: Case) -> Case:
    meals = samples()[0].choice.meals
    return replace(case, plan=remade(case, meals=[meals[0], meals[0], meals[2]]))


def same_sight(case: Case) -> Case:
    sights = samples()[0].choice.sights
    return replace(case, plan=remade(case, sights=[sights[0], sights[1], sights[0]]))


BROKEN: dict[str, Callable[[Case], Case]] = {
    "valid_trip_duration": a_third_day,
    "closed_loop_route_structure": home_elsewhere,
    "seamless_intercity_transfers": unknown_station,
    "validated_accommodation": dearer_room,
    "validated_attractions": dearer("attraction"),
    "validated_meals": dearer("meal"),
    "validated_transportation": dearer("travel_intercity_public"),
    "traceable_accommodation": bed_on_the_last_day,
    "ends_with_accommodation": out_again_at_night,
    "essential_meal_coverage": dinner_after_lunch,
    "essential_attraction_coverage": no_sight_on_the_last_day,
    "no_time_overlaps": late_bus,
    "reasonable_transfer_time": lost_half_an_hour,
    "attraction_visit_within_opening_hours": table(
        "attractions", "attraction_name", "attraction", opening_time="12:00"
    ),
    "dining_within_service_hours": table("restaurants", "restaurant_name", "meal", closing_time="11:30"),
    "avoidance_of_closure_days": table(
        "attractions", "attraction_name", "attraction", closing_dates="Friday,wednesday"
    ),
    "reasonable_duration_at_attractions": table("attractions", "attraction_name", "attraction", min_visit_hours="2.0"),
    "reasonable_meal_duration": quick_dinner,
    "cost_calculation_correctness": wrong_total,
    "diverse_meal_options": same_restaurant,
    "diverse_attraction_options": same_sight,
}


def broken_hard(number: int, name: str) -> Case:
    """The gold plan of an embedded task, spoiled so that one hard constraint does not hold and all others do."""
    case = gold(samples()[number])
    plan, answer = case.plan, case.trip.hard[name]
    match name.split("_", maxsplit=1)[0]:
        case "train" | "flight":
            day = 0 if any(key.startswith("outbound") for key in answer) else 1
            plan = with_activity(plan, day, "travel_intercity_public", 0, number="X1")
        case "hotel":
            other = next(hotel for hotel in case.db.hotel if hotel != answer["hotel_name"])
            plan = with_day(plan, 0, lambda day: replace(day, stay=Stay(other, 1.0)))
        case "restaurant":
            plan = with_activity(plan, 1, "meal", 0, name="Elsewhere")
        case "attraction":
            plan = with_activity(plan, 0, "attraction", 0, name="Elsewhere")
        case _:
            plan = with_activity(plan, 1, "meal", 0, cost=answer["max_budget"] + 1.0)
    return replace(case, plan=plan)
