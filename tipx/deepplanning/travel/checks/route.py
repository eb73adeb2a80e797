"""Route consistency: the right number of days, a closed loop, and no city reached without a journey."""

from tipx.deepplanning.travel.database import Database
from tipx.deepplanning.travel.plan import INTERCITY, Day, TravelPlan
from tipx.deepplanning.travel.trip import Trip, city, leg

_FIRST_TWO_HAN = ("\u4e00", "\u9fa5")


def valid_trip_duration(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    return len(plan.days) == trip.days > 0


def closed_loop_route_structure(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    """Begins and ends at home, as far as the first and the last day are journeys at all."""
    first, last = leg(plan.days[0].city), leg(plan.days[-1].city)
    return (first is None or first[0] == trip.origin) and (last is None or last[1] == trip.origin)


def seamless_intercity_transfers(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    """Each day is where the day before ended, and a day "from A to B" has a journey from A to B."""
    here, fine = trip.origin, True
    for day in plan.days:
        cities = leg(day.city)
        if cities is None:
            fine &= city(day.city) == here
        else:
            fine &= cities[0] == here and travels(day, cities, db)
            here = cities[1]
    return fine


def travels(day: Day, cities: tuple[str, str], db: Database) -> bool:
    ends = [(city_of(journey.origin, db), city_of(journey.destination, db)) for journey in day.of(INTERCITY)]
    return cities in ends


def city_of(station: str, db: Database) -> str | None:
    """By the tables; for an unknown Chinese station its first two characters, the official guess."""
    if station in db.city_of:
        return city(db.city_of[station])
    low, high = _FIRST_TWO_HAN
    return station[:2] if len(station) >= 2 and all(low <= sign <= high for sign in station[:2]) else None
