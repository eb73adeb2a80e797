"""The gold plan as text, and the calls that a traveller would make before writing it."""

from collections.abc import Mapping
from typing import Any

from tipx.deepplanning.travel.plan import Activity, Day, TravelPlan
from tipx.deepplanning.travel.sample.gold import GoldChoice
from tipx.deepplanning.travel.sample.world import InventedCity
from tipx.deepplanning.travel.task import Turn

Names = Mapping[str, Any]
Call = tuple[str, dict[str, Any]]


def written(plan: TravelPlan, names: Names) -> str:
    """A plan in the line format, between its tags, in the language of the names."""
    days = [day_text(number, day, names) for number, day in enumerate(plan.days, start=1)]
    total = (
        "" if plan.total is None else f"\n\nBudget Summary:\nTotal Estimated Budget: {plan.total:g} {names['currency']}"
    )
    return "<plan>\n" + "\n\n".join(days) + total + "\n</plan>"


def day_text(number: int, day: Day, names: Names) -> str:
    stay = "-" if day.stay is None else names["comma"].join((day.stay.name, money(names, "per_night", day.stay.price)))
    head = [f"Day {number}:", f"Current City: {day.city}", f"Accommodation: {stay}"]
    return "\n".join([*head, *(f"{a.start}-{a.end} | {a.kind} | {line(a, names)}" for a in day.activities)])


def line(activity: Activity, names: Names) -> str:
    """What stands after the second bar."""
    a, person = activity, money(names, "per_person", activity.cost)
    match a.kind:
        case "travel_intercity_public":
            parts = [f"{a.mode} {a.number}", f"{a.origin} - {a.destination}", person]
        case "travel_city":
            way = [f"{a.note}km"] if a.note else []
            parts = [f"{a.origin} - {a.destination}", *way, f"{lasts(a)}min", money(names, "price", a.cost)]
        case "attraction":
            parts = [a.name, person]
        case "meal":
            parts = [a.note, a.name, person]
        case "hotel":
            parts = [a.note, a.name]
        case "buffer":
            parts = [a.note]
    return str(names["comma"]).join(parts)


def money(names: Names, form: str, price: float | None) -> str:
    return "" if price is None else str(names[form]).format(price=f"{price:g}")


def lasts(activity: Activity) -> int:
    return activity.span[1] - activity.span[0] if activity.span else 0


def turns(world: InventedCity, choice: GoldChoice, plan: TravelPlan) -> tuple[Turn, ...]:
    """From the journeys to the ways between all places, every fact of the plan; then the plan."""
    db = world.database
    tool = "query_train_info" if world.mode == "train" else "query_flight_info"
    there = {"origin": world.home, "destination": world.city, "depDate": world.out.isoformat()}
    home = {"origin": world.city, "destination": world.home, "depDate": world.back.isoformat()}
    nights = {"checkinDate": world.out.isoformat(), "checkoutDate": world.back.isoformat()}
    sights = [{"attraction_name": row["attraction_name"]} for row in choice.sights]
    points = [{"latitude": row["query_latitude"], "longitude": row["query_longitude"]} for row in choice.meals]
    places = list(dict.fromkeys(end for way in plan.of("travel_city") for end in (way.origin, way.destination)))
    ways = [(db.place[way.origin], db.place[way.destination]) for way in plan.of("travel_city")]
    return (
        [(tool, there), (tool, home)],
        [("query_hotel_info", {"destination": world.city, **nights}), ("recommend_attractions", {"city": world.city})],
        [("query_attraction_details", sight) for sight in sights],
        [("recommend_restaurants", point) for point in points],
        [("query_restaurant_details", {"restaurant_name": row["restaurant_name"]}) for row in choice.meals],
        [("search_location", {"place_name": place}) for place in places],
        [("query_road_route_info", {"origin": ",".join(a), "destination": ",".join(b)}) for a, b in ways],
        written(plan, world.names),
    )
