"""Business hours and durations: places are visited when they are open, for as long as one should stay."""

from tipx.deepplanning.travel.clock import DAY, minute, within
from tipx.deepplanning.travel.database import Database, Row
from tipx.deepplanning.travel.plan import Activity, TravelPlan
from tipx.deepplanning.travel.trip import Trip

ALL_DAY = ("Open 24 Hours", "全天开放")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WEEKDAYS_ZH = ("周一", "周二", "周三", "周四", "周五", "周六", "周日")
MEAL = (30, 150)
"""Least and most minutes of a meal."""


def attraction_visit_within_opening_hours(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    """A sight whose hours the tables lack fails, one that is open all day passes; unknown names are passed over."""
    sights = [(sight, db.attraction[sight.name]) for sight in plan.of("attraction") if sight.name in db.attraction]
    return bool(db.attraction) and all(always_open(row) or is_open(sight, row, unknown=False) for sight, row in sights)


def dining_within_service_hours(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    """A restaurant whose hours the tables lack passes; unknown names are passed over."""
    meals = [(meal, db.restaurant[meal.name]) for meal in plan.of("meal") if meal.name in db.restaurant]
    return bool(db.restaurant) and all(is_open(meal, row, unknown=True) for meal, row in meals)


def avoidance_of_closure_days(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    """No sight on a weekday on which it is closed; a trip without a weekday is not checked."""
    if not db.attraction or not trip.weekday:
        return bool(db.attraction)
    return not any(
        (trip.weekday + number - 1) % 7 in closed(db.attraction[sight.name]["closing_dates"])
        for number, day in enumerate(plan.days)
        for sight in day.of("attraction")
        if sight.name in db.attraction
    )


def reasonable_duration_at_attractions(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    sights = [sight for sight in plan.of("attraction") if sight.name in db.attraction]
    return bool(db.attraction) and all(long_enough(sight, db.attraction[sight.name]) for sight in sights)


def reasonable_meal_duration(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    spans = [meal.span for meal in plan.of("meal") if meal.name]
    return all(span is not None and MEAL[0] <= span[1] - span[0] <= MEAL[1] for span in spans)


def always_open(row: Row) -> bool:
    return row["opening_time"].strip() in ALL_DAY and row["closing_time"].strip() in ALL_DAY


def is_open(activity: Activity, row: Row, *, unknown: bool) -> bool:
    """`unknown` is the answer where the tables have no hours."""
    slot, opening, closing = activity.span, minute(row["opening_time"]), minute(row["closing_time"])
    if slot is None:
        return False
    if opening is None or closing is None:
        return unknown
    return within((slot[0], slot[1] % DAY), opening, closing)


def closed(dates: str) -> set[int]:
    """Weekdays, 0 = Monday, of "Monday, Sunday" or of their Chinese names; other words are passed over."""
    words = {word.strip().lower() for word in dates.split(",")}
    return {day for names in (WEEKDAYS, WEEKDAYS_ZH) for day, name in enumerate(names) if name in words}


def long_enough(sight: Activity, row: Row) -> bool:
    try:
        least, most = float(row["min_visit_hours"]), float(row["max_visit_hours"])
    except ValueError:
        return False
    return sight.span is not None and least <= (sight.span[1] - sight.span[0]) / 60.0 <= most
