"""The nine tools: pure functions of the tables and the call's arguments, with the official names and result shapes.

Kept from the official tools, because it decides what a model learns: hotels and sights are those of the task whatever
city and date are asked for; names and coordinates must match to the letter; routes of numbers are ordered as text, so
that 10 comes before 2; an empty cell is "nan" in text and NaN in JSON; a route's cost is for one car. Not kept: where
no flight matches, the official tool raises an exception of its own making; ours says that there is none.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tipx.deepplanning.travel.database import Database, Row, Rows

Words = Mapping[str, str]
Arguments = Mapping[str, str]
# What pandas takes for a missing value.
_MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool's parameters, all text, and what it answers; `run` raises ValueError where a cell is not a number."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    run: Callable[[Database, Words, Arguments], str]

    def schema(self, name: str, texts: Mapping[str, str]) -> dict[str, Any]:
        """The OpenAI schema, with a description of the tool and of each parameter from `texts`."""
        properties = {key: {"type": "string", "description": texts[key]} for key in (*self.required, *self.optional)}
        parameters = {"type": "object", "properties": properties, "required": list(self.required)}
        function = {"name": name, "description": texts["description"], "parameters": parameters}
        return {"type": "function", "function": function}


def train_info(db: Database, words: Words, call: Arguments) -> str:
    routes = []
    for segments in journeys(db.trains, call):
        route: dict[str, Any] = {}
        start = segments[0]["origin_city"]
        for number, row in enumerate(segments, start=1):
            about = segment(row, words, start, row["train_type"], row["train_no"])
            route[words["segment"].format(number=number)] = about
            start = row["arr_station_name"].split(words["station"])[0]
        routes.append([route | {"price": fare(segments[0])}])
    return shown(routes) if routes else words["no_trains"].format_map(call)


def flight_info(db: Database, words: Words, call: Arguments) -> str:
    routes = []
    for segments in journeys(db.flights, call):
        route: dict[str, Any] = {}
        for number, row in enumerate(segments, start=1):
            about = segment(row, words, row["origin_city"], row["airline"], row["flight_no"])
            craft = {"equipSize": "equip_size", "equipType": "equip_type", "manufacturer": "manufacturer"}
            about |= {name: cell(row, column) for name, column in craft.items()}
            route[words["segment"].format(number=number)] = about
        routes.append(route | {"price": fare(segments[0])})
    return shown(routes) if routes else words["no_flights"].format_map(call)


def journeys(rows: Rows, call: Arguments) -> Iterator[list[Row]]:
    """The segments of each matching route, routes and segments in the order of their numbers as text."""
    asked = {"origin_city": call["origin"], "destination_city": call["destination"], "dep_date": call["depDate"]}
    if call.get("seatClassName"):
        asked["seat_class"] = call["seatClassName"]
    found: dict[str, list[Row]] = {}
    for row in rows:
        if all(row[column] == value for column, value in asked.items()):
            found.setdefault(row["route_index"], []).append(row)
    for _, segments in sorted(found.items()):
        yield sorted(segments, key=lambda row: row["segment_index"])


def segment(row: Row, words: Words, start: str, name: str, number: str) -> dict[str, Any]:
    return {
        "arrCityName": row["destination_city"],
        "arrStationCode": cell(row, "arr_station_code"),
        "arrStationName": cell(row, "arr_station_name"),
        "depCityName": start,
        "depStationCode": cell(row, "dep_station_code"),
        "depStationName": cell(row, "dep_station_name"),
        "duration": int(row["duration"]),
        "arrDateTime": cell(row, "arr_datetime"),
        "depDateTime": cell(row, "dep_datetime"),
        "marketingTransportName": math.nan if name in _MISSING else name,
        "marketingTransportNo": math.nan if number in _MISSING else number,
        "seatClassName": cell(row, "seat_class"),
        words["seats"]: words["enough"] if row["seat_status"].strip() in _MISSING else row["seat_status"],
    }


def fare(row: Row) -> float:
    """The whole route's price stands in its first segment; a word is no price, and an empty cell is NaN."""
    number = decimal(row, "price")
    return 0 if number is None else number


def hotel_info(db: Database, words: Words, call: Arguments) -> str:
    star, brand = call.get("hotelStar"), call.get("hotelBrands")
    rows = [
        row for row in db.hotels if (not star or row["hotel_star"] == star) and (not brand or row["brand"] == brand)
    ]
    columns = {"decorationTime": "decoration_time", "hotelStar": "hotel_star"}
    names = ("name", "address", "latitude", "longitude", "decorationTime", "hotelStar", "price", "score", "brand")
    hotels = [{name: blank(row, columns.get(name, name)) for name in names} | listed(row, "services") for row in rows]
    return shown(hotels) if hotels else words["no_hotels"].format_map(call)


def attraction_details(db: Database, words: Words, call: Arguments) -> str:
    row = first(db.attractions, "attraction_name", call["attraction_name"])
    if row is None:
        return words["no_attraction"].format_map(call)
    opening, closing = text(row, "opening_time"), text(row, "closing_time")
    numbers = {name: decimal(row, name) for name in ("rating", "min_visit_hours", "max_visit_hours", "ticket_price")}
    facts = {name: text(row, name) for name in row if name} | {
        name: ("0" if name == "ticket_price" else "") if number is None or math.isnan(number) else str(number)
        for name, number in numbers.items()
    }
    hours = opening if opening == closing else f"{opening} {words['to']} {closing}"
    return words["details"].format_map(facts | {"hours": hours})


def attractions(db: Database, words: Words, call: Arguments) -> str:
    kind = call.get("attraction_type")
    rows = [row for row in db.attractions if not kind or row["attraction_type"] == kind]
    if not rows:
        return words["no_attractions"]
    facts = ((text(row, "attraction_name"), text(row, "description"), text(row, "attraction_type")) for row in rows)
    lines = [words["attraction"].format(name=name, description=about, type=type_) for name, about, type_ in facts]
    return "\n".join([words["attractions"], *lines])


def location(db: Database, words: Words, call: Arguments) -> str:
    row = first(db.locations, "poi_name", call["place_name"])
    if row is None:
        return words["no_place"].format_map(call)
    return shown(
        {"place_name": row["poi_name"], "latitude": text(row, "latitude"), "longitude": text(row, "longitude")}
    )


def road_route(db: Database, words: Words, call: Arguments) -> str:
    origin, destination = call["origin"], call["destination"]
    for point in (origin, destination):
        if point not in db.corners:
            return words["no_point"].format(point=point)
    row = db.route.get((origin, destination))
    if row is None:
        return words["no_route"].format_map(call)
    numbers = {
        "distance_in_meters": int(row["distance_meters"]),
        "duration_in_minutes": int(row["duration_minutes"]),
        "cost": int(row["cost"]),
    }
    return shown({"origin": origin, "destination": destination, **numbers})


def restaurants(db: Database, words: Words, call: Arguments) -> str:
    point = (call["latitude"], call["longitude"])
    rows = [row for row in db.restaurants if (row["query_latitude"], row["query_longitude"]) == point]
    return shown([about_restaurant(row) for row in rows]) if rows else words["no_restaurants"].format_map(call)


def restaurant_details(db: Database, words: Words, call: Arguments) -> str:
    """The one tool that wraps its sentence of no match in JSON."""
    row = first(db.restaurants, "restaurant_name", call["restaurant_name"])
    if row is None:
        message = words["no_restaurant"].format_map(call)
        return shown({"message": message, "restaurant_name": call["restaurant_name"]})
    return shown({"id": cell(row, "restaurant_id")} | about_restaurant(row))


def about_restaurant(row: Row) -> dict[str, Any]:
    return {
        "name": cell(row, "restaurant_name"),
        "latitude": text(row, "latitude"),
        "longitude": text(row, "longitude"),
        "price_per_person": text(row, "price_per_person"),
        "cuisine": cell(row, "cuisine"),
        "opening_time": cell(row, "opening_time"),
        "closing_time": cell(row, "closing_time"),
        "nearby_attraction_name": cell(row, "nearby_attraction_name"),
        "rating": text(row, "rating"),
        **listed(row, "tags"),
    }


def first(rows: Rows, column: str, value: str) -> Row | None:
    """The first row with exactly this value; an empty cell matches nothing."""
    return None if value in _MISSING else next((row for row in rows if row[column] == value), None)


def cell(row: Row, column: str) -> str | float:
    return math.nan if row[column] in _MISSING else row[column]


def text(row: Row, column: str) -> str:
    return "nan" if row[column] in _MISSING else row[column]


def blank(row: Row, column: str) -> str:
    return "" if row[column] in _MISSING else row[column]


def listed(row: Row, column: str) -> dict[str, list[str]]:
    """The parts of a cell "a;b", under its column's name; nothing if it is empty."""
    value = row.get(column, "")
    return {} if value in _MISSING or not value.strip() else {column: value.split(";")}


def decimal(row: Row, column: str) -> float | None:
    """NaN for an empty cell, None for a word."""
    try:
        return float(cell(row, column))
    except ValueError:
        return None


def shown(result: Any) -> str:
    return json.dumps(result, ensure_ascii=False, indent=2)


TOOLS: dict[str, Tool] = {
    "query_train_info": Tool(("origin", "destination", "depDate"), ("seatClassName",), train_info),
    "query_flight_info": Tool(("origin", "destination", "depDate"), ("seatClassName",), flight_info),
    "query_hotel_info": Tool(("destination", "checkinDate", "checkoutDate"), ("hotelStar", "hotelBrands"), hotel_info),
    "query_attraction_details": Tool(("attraction_name",), (), attraction_details),
    "recommend_attractions": Tool(("city",), ("attraction_type",), attractions),
    "search_location": Tool(("place_name",), (), location),
    "query_road_route_info": Tool(("origin", "destination"), (), road_route),
    "recommend_restaurants": Tool(("latitude", "longitude"), (), restaurants),
    "query_restaurant_details": Tool(("restaurant_name",), (), restaurant_details),
}
