"""Hard constraints of the embedded tasks: what is asked for, and the answer, found in the tables as a reader would.

Each kind is a function of the world that gives the answer's fields, by the official names of constraint and fields.
"""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from tipx.deepplanning.travel.database import Row
from tipx.deepplanning.travel.sample.world import InventedCity

Answer = dict[str, Any]
Wish = Callable[[InventedCity], Answer]


def number(column: str) -> Callable[[Row], float]:
    return lambda row: float(row[column])


def hotel(row: Row) -> Answer:
    return {"hotel_name": row["name"], "hotel_price": float(row["price"])}


def sights(rows: list[Row]) -> Answer:
    return {"attraction_names": [row["attraction_name"] for row in rows]}


def meal(world: InventedCity, best: Callable[[list[Row]], Row], sight: int) -> Answer:
    """The best restaurant near the sight of that number, and what is special about it."""
    name = world.database.attractions[sight]["attraction_name"]
    row = best([row for row in world.database.restaurants if row["nearby_attraction_name"] == name])
    return {
        "restaurant_name": row["restaurant_name"],
        "attraction_name": name,
        "required_tag": row["tags"].split(";")[0],
    }


def away(world: InventedCity) -> Callable[[Row], float]:
    """Metres from a restaurant to its sight."""
    ends = ("latitude", "longitude", "query_latitude", "query_longitude")
    return lambda row: float(
        world.database.route["{},{}".format(*map(row.get, ends[:2])), "{},{}".format(*map(row.get, ends[2:]))][
            "distance_meters"
        ]
    )


def seats(world: InventedCity) -> Answer:
    """The one train each way that has a seat for everybody."""
    found = {}
    for way, outbound in (("outbound", True), ("inbound", False)):
        (row,) = [row for row in world.journeys(outbound=outbound) if int(row["seat_status"]) >= world.people]
        found[f"{way}_train_no"] = row["train_no"]
    return found


def airline(world: InventedCity) -> Answer:
    wanted = world.names["airlines"][1]
    rows = [row for row in world.journeys(outbound=True) if row["airline"] == wanted]
    return {"airline": wanted, "outbound_flight_no": min(rows, key=number("price"))["flight_no"]}


def service(world: InventedCity) -> Answer:
    """The only hotel with so many stars and that service."""
    row = world.database.hotels[2]
    wanted = next(
        one for one in row["services"].split(";") if one not in world.database.hotels[0]["services"].split(";")
    )
    return hotel(row) | {"hotel_star": int(row["hotel_star"]), "required_service": wanted}


def cheapest_brand(world: InventedCity) -> Answer:
    brand = world.names["brands"][0]
    rows = [row for row in world.database.hotels if row["brand"] == brand]
    return hotel(min(rows, key=number("price"))) | {"brand": brand}


def price_range(world: InventedCity) -> Answer:
    """Bounds that hold one hotel alone: the second cheapest."""
    row = sorted(world.database.hotels, key=number("price"))[1]
    price = int(float(row["price"]))
    return hotel(row) | {"min_price": price, "max_price": price}


def of_type(world: InventedCity, kind: int) -> list[Row]:
    wanted = world.names["types"][kind]
    return [row for row in world.database.attractions if row["attraction_type"] == wanted]


def best_of_type(world: InventedCity) -> Answer:
    rows = of_type(world, 0)
    return sights([max(rows, key=number("rating"))]) | {"attraction_type": rows[0]["attraction_type"]}


def all_of_type(world: InventedCity) -> Answer:
    rows = of_type(world, 2)
    return sights(rows) | {"attraction_type": rows[0]["attraction_type"]}


def top_rated(world: InventedCity) -> Answer:
    return sights(sorted(world.database.attractions, key=number("rating"))[-3:])


def free(world: InventedCity) -> Answer:
    return sights([row for row in world.database.attractions if float(row["ticket_price"]) == 0])


WISHES: Mapping[str, Wish] = {
    "train_earliest_departure_direct": lambda world: {
        "outbound_train_no": min(world.journeys(outbound=True), key=itemgetter("dep_datetime"))["train_no"]
    },
    "train_cheapest_direct": lambda world: {
        "outbound_train_no": min(world.journeys(outbound=True), key=number("price"))["train_no"]
    },
    "train_latest_arrival_direct": lambda world: {
        "inbound_train_no": max(world.journeys(outbound=False), key=itemgetter("arr_datetime"))["train_no"]
    },
    "train_seat_status": seats,
    "flight_cheapest_airline_direct": airline,
    "flight_shortest_duration_direct": lambda world: {
        "inbound_flight_no": min(world.journeys(outbound=False), key=number("duration"))["flight_no"]
    },
    "hotel_star_service_required": service,
    "hotel_cheapest_brand": cheapest_brand,
    "hotel_highest_rated": lambda world: hotel(max(world.database.hotels, key=number("score"))),
    "hotel_newest_decoration": lambda world: hotel(max(world.database.hotels, key=number("decoration_time"))),
    "hotel_price_range": price_range,
    "restaurant_specific_tag_nearby": lambda world: meal(world, itemgetter(1), 3),
    "restaurant_highest_rated": lambda world: meal(world, lambda rows: max(rows, key=number("rating")), 4),
    "restaurant_must_eat_named": lambda world: meal(world, itemgetter(0), 1),
    "restaurant_cheapest_nearby_attraction": lambda world: meal(
        world, lambda rows: min(rows, key=number("price_per_person")), 5
    ),
    "restaurant_closest_to_attraction": lambda world: meal(world, lambda rows: min(rows, key=away(world)), 2),
    "attraction_must_visit_named": lambda world: sights([world.database.attractions[n] for n in (3, 5)]),
    "attraction_top_rated_must_visit": top_rated,
    "attraction_type_highest_rated": best_of_type,
    "attraction_all_free_attractions": free,
    "attraction_all_of_type": all_of_type,
}
"""budget_constraint is not here: it is set from what the gold plan costs."""
