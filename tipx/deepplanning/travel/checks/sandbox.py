"""Sandbox compliance: every name is in the tables, at the tables' price.

Prices are compared as whole numbers; a price that the tables lack or spoil is not compared.
"""

from collections.abc import Iterable, Mapping

from tipx.deepplanning.travel.database import Database, Row
from tipx.deepplanning.travel.plan import INTERCITY, Activity, TravelPlan
from tipx.deepplanning.travel.trip import Trip


def validated_accommodation(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    """The hotel of each day's head by name and price, those of activities by name; on the last day "-" is none."""
    stays = [day.stay for day in plan.days if day.stay is not None and day.stay.name]
    if plan.days[-1].stay is not None and plan.days[-1].stay.name == "-":
        stays.pop()
    visited = [hotel.name for day in plan.days[:-1] for hotel in day.of("hotel") if hotel.name]
    return (
        bool(db.hotel)
        and all(stay.name in db.hotel and same_price(stay.price, db.hotel[stay.name]["price"]) for stay in stays)
        and all(name in db.hotel for name in visited)
    )


def validated_attractions(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    return all_known(plan.of("attraction"), db.attraction, "ticket_price")


def validated_meals(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    return all_known(plan.of("meal"), db.restaurant, "price_per_person")


def validated_transportation(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    """A journey's number is in the tables, at one of the prices it has there; its stations are not compared."""
    return all(
        journey.number in db.fares
        and bool(journey.origin and journey.destination)
        and journey.cost is not None
        and any_price(journey.cost, db.fares[journey.number])
        for journey in plan.of(INTERCITY)
    )


def all_known(activities: Iterable[Activity], table: Mapping[str, Row], price: str) -> bool:
    return bool(table) and all(a.name in table and same_price(a.cost, table[a.name][price]) for a in activities)


def same_price(planned: float | None, listed: str) -> bool:
    """Whether a plan's price is that of the tables; without a price in the tables any will do."""
    whole = rounded(listed)
    return whole is None or (planned is not None and round(planned) == whole)


def any_price(planned: float, listed: Iterable[str]) -> bool:
    prices = [whole for whole in map(rounded, listed) if whole is not None]
    return not prices or round(planned) in prices


def rounded(text: str) -> int | None:
    try:
        return round(float(text))
    except (ValueError, OverflowError):  # empty, a word, nan, or infinity
        return None
