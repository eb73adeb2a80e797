"""An invented city: the seven tables of one embedded task, in the official columns.

Small enough to be read by eye: four hotels, six sights, two restaurants at each, a few journeys, and the way between
every two places. Values that a request may rank by are all different, so that the best is one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import cos, hypot, radians
from random import Random
from typing import Any, Literal

from tipx.deepplanning.travel.database import Database
from tipx.deepplanning.travel.sample.draw import between, different, several

Mode = Literal["train", "flight"]
Names = Mapping[str, Any]
Table = list[dict[str, str]]

STOPS: dict[Mode, str] = {"train": "station", "flight": "airport"}
HOTELS, SIGHTS, NEARBY, JOURNEYS = 4, 6, 2, 4
CENTRE = (31.2, 118.4)
DEGREE_M = 111_000
DETOUR = 1.3
"""A road is so much longer than the straight line."""
WALK_M = 2_000
"""Up to here one walks, at no cost."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One way between two cities."""

    origin: str
    city: str
    day: date
    outbound: bool


@dataclass(frozen=True, slots=True)
class InventedCity:
    """The tables, and the facts of the journey that they are for."""

    names: Names
    mode: Mode
    home: str
    city: str
    out: date
    back: date
    people: int
    database: Database

    @property
    def rooms(self) -> int:
        return -(-self.people // 2)

    def journeys(self, *, outbound: bool) -> Table:
        """Direct journeys of the world's mode, one way."""
        rows = self.database.trains if self.mode == "train" else self.database.flights
        changes = {row["route_index"] for row in rows if row["segment_index"] == "2"}
        origin = self.home if outbound else self.city
        return [dict(r) for r in rows if r["origin_city"] == origin and r["route_index"] not in changes]


def build(rng: Random, names: Names, mode: Mode, out: date, people: int) -> InventedCity:
    """Draw a world; advances `rng`."""
    home, city = several(rng, names["cities"], 2)
    back = out + timedelta(days=1)
    hotels = hotel_table(rng, names)
    sights = sight_table(rng, names, city)
    restaurants = [row for number, sight in enumerate(sights) for row in near(rng, names, sight, number)]
    give_names(restaurants, several(rng, names["restaurants"], len(restaurants)))
    stops = [{"poi_name": names[stop].format(city=city), **point(rng, 9_000)} for stop in STOPS.values()]
    places = locations(hotels, sights, restaurants, stops)
    legs = [Leg(home, city, out, outbound=True), Leg(city, home, back, outbound=False)]
    trains = [row for leg in legs for row in journey_table(rng, names, "train", leg, changes=mode == "train")]
    flights = [row for leg in legs for row in journey_table(rng, names, "flight", leg, changes=mode == "flight")]
    tables = (trains, flights, hotels, sights, restaurants, places, route_table(places))
    return InventedCity(names, mode, home, city, out, back, people, Database(*map(tuple, tables)))


def point(rng: Random, reach: int, around: Mapping[str, str] | None = None) -> dict[str, str]:
    """Coordinates within `reach` metres of a place, or of the centre."""
    latitude, longitude = (float(around["latitude"]), float(around["longitude"])) if around else CENTRE
    north, east = (reach * (2 * rng.random() - 1) / DEGREE_M for _ in range(2))
    return {"latitude": f"{latitude + north:.6f}", "longitude": f"{longitude + east / cos(radians(CENTRE[0])):.6f}"}


def hotel_table(rng: Random, names: Names) -> Table:
    """Two of a brand, two of a number of stars."""
    called = several(rng, names["hotels"], HOTELS)
    columns = zip(
        different(rng, 180, 620, HOTELS),
        different(rng, 40, 50, HOTELS),
        different(rng, 2014, 2026, HOTELS),
        strict=True,
    )
    return [
        {
            "name": called[number],
            "address": names["street"].format(number=between(rng, 1, 90)),
            **point(rng, 3_000),
            "decoration_time": str(decorated),
            "hotel_star": str(3 + number % 2),
            "price": f"{price}.0",
            "score": f"{score / 10}",
            "brand": names["brands"][number // 2],
            "services": ";".join((names["services"][number], names["services"][(number + 1) % 4])),
        }
        for number, (price, score, decorated) in enumerate(columns)
    ]


def sight_table(rng: Random, names: Names, city: str) -> Table:
    """Two of each type, two free ones; each is closed on a Monday or a Sunday, or never."""
    called = several(rng, names["attractions"], SIGHTS)
    ratings, prices = different(rng, 38, 50, SIGHTS), [0, 0, *different(rng, 15, 120, SIGHTS - 2)]
    return [
        {
            "attraction_id": f"A{number + 1}",
            "attraction_name": called[number],
            "city": city,
            "address": names["street"].format(number=between(rng, 1, 90)),
            **point(rng, 5_000),
            "description": names["about"].format(city=city),
            "rating": f"{ratings[number] / 10}",
            "opening_time": "08:00",
            "closing_time": "21:00",
            "closing_dates": (names["weekdays"][0], names["weekdays"][6])[number % 2],
            "min_visit_hours": "1.0",
            "max_visit_hours": f"{between(rng, 4, 6) / 2}",
            "ticket_price": f"{prices[number]}.0",
            "attraction_type": names["types"][number % 3],
        }
        for number in range(SIGHTS)
    ]


def near(rng: Random, names: Names, sight: Mapping[str, str], number: int) -> Table:
    """The restaurants at a sight, without names yet; one of them has each tag."""
    prices, ratings = different(rng, 30, 160, NEARBY), different(rng, 38, 50, NEARBY)
    return [
        {
            "restaurant_id": f"R{NEARBY * number + place + 1}",
            "restaurant_name": "",
            **point(rng, 500 + 1_500 * place, around=sight),
            "price_per_person": f"{prices[place]}.0",
            "cuisine": names["cuisines"][(number + place) % 3],
            "opening_time": "10:00",
            "closing_time": "22:00",
            "nearby_attraction_name": sight["attraction_name"],
            "rating": f"{ratings[place] / 10}",
            "tags": names["tags"][place] + (f";{names['tags'][2]}" if number % 2 else ""),
            "query_latitude": sight["latitude"],
            "query_longitude": sight["longitude"],
        }
        for place in range(NEARBY)
    ]


def give_names(restaurants: Table, names: Sequence[str]) -> None:
    for row, name in zip(restaurants, names, strict=True):
        row["restaurant_name"] = name


def locations(hotels: Table, sights: Table, restaurants: Table, stops: Table) -> Table:
    kinds = [("name", "hotel", hotels), ("attraction_name", "attraction", sights)]
    kinds += [("restaurant_name", "restaurant", restaurants), ("poi_name", "station", stops)]
    return [
        {"poi_name": row[column], "latitude": row["latitude"], "longitude": row["longitude"], "poi_type": kind}
        for column, kind, rows in kinds
        for row in rows
    ]


def route_table(places: Table) -> Table:
    """Every ordered pair of places."""
    return [route(a, b) for a in places for b in places if a is not b]


def route(start: Mapping[str, str], end: Mapping[str, str]) -> dict[str, str]:
    north = (float(end["latitude"]) - float(start["latitude"])) * DEGREE_M
    east = (float(end["longitude"]) - float(start["longitude"])) * DEGREE_M * cos(radians(CENTRE[0]))
    metres = round(DETOUR * hypot(north, east))
    walks = metres <= WALK_M
    return {
        "origin": f"{start['latitude']},{start['longitude']}",
        "destination": f"{end['latitude']},{end['longitude']}",
        "distance_meters": str(metres),
        "duration_minutes": str(max(1, round(metres / (80 if walks else 400)))),
        "cost": str(0 if walks else 10 + round(metres * 2.2 / 1_000)),
    }


def journey_table(rng: Random, names: Names, mode: Mode, leg: Leg, *, changes: bool) -> Table:
    """Direct journeys at different times, prices and durations; and perhaps one with a change, cheaper than all."""
    prices, minutes = different(rng, 120, 480, JOURNEYS), different(rng, 60, 110, JOURNEYS)
    hours = (7, 7.75, 8.5, 9.25) if leg.outbound else (16.25, 17, 18, 19)
    prefix = {"train": "K", "flight": "QV"}[mode] + ("1" if leg.outbound else "2")
    seats = several(rng, ["1", "1", "1", "9"], JOURNEYS)
    rows = []
    for number in range(JOURNEYS):
        leaves = datetime.combine(leg.day, datetime.min.time()) + timedelta(hours=hours[number])
        arrives = leaves + timedelta(minutes=minutes[number])
        rows.append(segment(names, mode, leg, (leaves, arrives)))
        rows[-1] |= {"route_index": str(number), "segment_index": "1", "seat_status": seats[number]}
        rows[-1] |= numbered(names, mode, f"{prefix}{number}{between(rng, 0, 9)}", number, prices[number])
    if changes:
        other = next(city for city in names["cities"] if city not in (leg.origin, leg.city))
        rows += with_change(mode, rows[0], prefix, names[STOPS[mode]].format(city=other))
    return rows


def segment(names: Names, mode: Mode, leg: Leg, times: tuple[datetime, datetime]) -> dict[str, str]:
    leaves, arrives = times
    stops = [names[STOPS[mode]].format(city=city) for city in (leg.origin, leg.city)]
    return {
        "origin_city": leg.origin,
        "destination_city": leg.city,
        "dep_date": leaves.date().isoformat(),
        "dep_station_code": f"S{len(stops[0])}",
        "dep_station_name": stops[0],
        "arr_station_code": f"S{len(stops[1])}",
        "arr_station_name": stops[1],
        "dep_datetime": leaves.isoformat(sep=" "),
        "arr_datetime": arrives.isoformat(sep=" "),
        "duration": str((arrives - leaves).seconds // 60),
        "seat_class": names["seat"][mode],
    }


def numbered(names: Names, mode: Mode, number: str, turn: int, price: int) -> dict[str, str]:
    if mode == "train":
        own = {"train_type": names["types_of"]["train"], "train_no": number}
    else:
        own = {"airline": names["airlines"][turn % 2], "flight_no": number, "equip_size": names["types_of"]["flight"]}
        own |= {"equip_type": f"{100 + turn}", "manufacturer": names["makers"][turn % 2]}
    return own | {"price": f"{price}.0"}


def with_change(mode: Mode, direct: Mapping[str, str], prefix: str, middle: str) -> Table:
    """The first journey again, in two parts; seats are left, which the table says by an empty cell."""
    key = "train_no" if mode == "train" else "flight_no"
    both = {"route_index": str(JOURNEYS), "price": "99.0", "seat_status": ""}
    first = {"segment_index": "1", key: f"{prefix}88", "arr_station_name": middle}
    second = {"segment_index": "2", key: f"{prefix}89", "dep_station_name": middle}
    return [dict(direct) | both | first, dict(direct) | both | second]
