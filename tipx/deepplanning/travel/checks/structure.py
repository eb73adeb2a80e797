"""Itinerary structure: a bed each night, the day ending in it, and enough meals and sights for the time there is."""

from tipx.deepplanning.travel.clock import hours, loose
from tipx.deepplanning.travel.database import Database
from tipx.deepplanning.travel.plan import INTERCITY, Day, TravelPlan
from tipx.deepplanning.travel.trip import Trip, leg

MEAL_GAP = 120
"""Minutes from the end of a day's first meal to the start of its second, at least."""


def traceable_accommodation(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    """Each day but the last names a hotel in its head and in an activity; the last names none in its head."""
    last = plan.days[-1].stay
    nights = all(day.stay is not None and day.of("hotel") for day in plan.days[:-1])
    return nights and (last is None or last.name in ("", "-"))


def ends_with_accommodation(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    return all(day.activities and day.activities[-1].kind == "hotel" for day in plan.days[:-1])


def essential_meal_coverage(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    """Two meals on a day in one city; fewer on a day of travel, by when one leaves and arrives."""
    here, fine = trip.origin, True
    for day in plan.days:
        cities = leg(day.city)
        if cities is None:
            fine &= at_least(day, 2)
        else:
            fine &= meals_before(day, cities, here, trip) and meals_after(day, cities, trip)
            here = cities[1]
    return fine


def meals_before(day: Day, cities: tuple[str, str], here: str, trip: Trip) -> bool:
    """Leaving a city that is not home: none before 9, at most one before 15, else one or more."""
    departure = departs(day)
    if departure is None or cities[0] != here or cities[0] == trip.origin:
        return True
    if departure < 9:
        return not day.of("meal")
    if departure < 15:
        return len(day.of("meal")) <= 1
    return at_least(day, 1)


def meals_after(day: Day, cities: tuple[str, str], trip: Trip) -> bool:
    """Arriving in a city that is not home: two before 10, one or more before 15, else at most one."""
    arrival = arrives(day)
    if arrival is None or cities[1] == trip.origin:
        return True
    if arrival < 10:
        return at_least(day, 2)
    if arrival < 15:
        return at_least(day, 1)
    return len(day.of("meal")) <= 1


def at_least(day: Day, count: int) -> bool:
    """So many meals, the first two of them far enough apart."""
    meals = sorted(((loose(m.start), loose(m.end)) for m in day.of("meal")), key=lambda meal: meal[0])
    return len(meals) >= count and (len(meals) < 2 or meals[1][0] - meals[0][1] >= MEAL_GAP)


def essential_attraction_coverage(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    """Two sights or four hours of them on a day in one city; one on a day of travel that leaves time for it."""
    here, fine = trip.origin, True
    for day in plan.days:
        cities = leg(day.city)
        if cities is None:
            fine &= len(day.of("attraction")) >= 2 or minutes_of_sights(day) / 60.0 >= 4.0
        else:
            fine &= bool(day.of("attraction")) or not has_time(day, cities, here, trip)
            here = cities[1]
    return fine


def has_time(day: Day, cities: tuple[str, str], here: str, trip: Trip) -> bool:
    """Leaving a city that is not home after 16, or arriving in one before 12."""
    departure, arrival = departs(day), arrives(day)
    late = departure is not None and departure > 16 and cities[0] == here != trip.origin
    early = arrival is not None and arrival < 12 and cities[1] != trip.origin
    return late or early


def minutes_of_sights(day: Day) -> int:
    """Visits, and the ways to and from them."""
    names = {sight.name for sight in day.of("attraction")} - {""}
    ways = [way for way in day.of("travel_city") if way.origin in names or way.destination in names]
    return sum(lasts(activity.start, activity.end) for activity in (*day.of("attraction"), *ways))


def lasts(start: str, end: str) -> int:
    """Whole minutes; the difference of two floats is cut, not rounded, so that some come out a minute short."""
    difference = hours(end) - hours(start)
    return int((difference + 24 if difference < 0 else difference) * 60)


def departs(day: Day) -> float | None:
    """Hour of the day's first journey between cities."""
    journeys = day.of(INTERCITY)
    return hours(journeys[0].start) if journeys else None


def arrives(day: Day) -> float | None:
    """Hour at which that journey ends; of one with a change, its first part, as in the official scorer."""
    journeys = day.of(INTERCITY)
    return hours(journeys[0].end) if journeys else None
