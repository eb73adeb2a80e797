"""The seven tables of one travel task: read once, shared by all its trajectories, never written."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path

from tipx.errors import DataError

Row = Mapping[str, str]
Rows = tuple[Row, ...]

FILES = {
    "trains": "trains/trains.csv",
    "flights": "flights/flights.csv",
    "hotels": "hotels/hotels.csv",
    "attractions": "attractions/attractions.csv",
    "restaurants": "restaurants/restaurants.csv",
    "locations": "locations/locations_coords.csv",
    "routes": "transportation/distance_matrix.csv",
}
COLUMNS = {
    "trains": "origin_city destination_city dep_date route_index segment_index dep_station_code dep_station_name "
    "arr_station_code arr_station_name dep_datetime arr_datetime duration train_type train_no seat_class "
    "seat_status price",
    "flights": "origin_city destination_city dep_date route_index segment_index dep_station_code dep_station_name "
    "arr_station_code arr_station_name dep_datetime arr_datetime duration airline flight_no equip_size equip_type "
    "manufacturer seat_class seat_status price",
    "hotels": "name address latitude longitude decoration_time hotel_star price score brand services",
    "attractions": "attraction_id attraction_name city address latitude longitude description rating opening_time "
    "closing_time closing_dates min_visit_hours max_visit_hours ticket_price attraction_type",
    "restaurants": "restaurant_id restaurant_name latitude longitude price_per_person cuisine opening_time "
    "closing_time nearby_attraction_name rating tags query_latitude query_longitude",
    "locations": "poi_name latitude longitude poi_type",
    "routes": "origin destination distance_meters duration_minutes cost",
}
OPTIONAL = {("hotels", "services"), ("restaurants", "tags")}
"""Columns that the official tools do without."""
MAY_BE_ABSENT = ("trains", "flights")
"""A city may have no airport or no station; the official code then sees an empty table."""


@dataclass(frozen=True)
class Database:
    """The tables, and what the scorer looks up in them; every cell is text as it stands in the file."""

    trains: Rows
    flights: Rows
    hotels: Rows
    attractions: Rows
    restaurants: Rows
    locations: Rows
    routes: Rows

    @cached_property
    def hotel(self) -> dict[str, Row]:
        return by_name(self.hotels, "name")

    @cached_property
    def attraction(self) -> dict[str, Row]:
        return by_name(self.attractions, "attraction_name")

    @cached_property
    def restaurant(self) -> dict[str, Row]:
        return by_name(self.restaurants, "restaurant_name")

    @cached_property
    def fares(self) -> dict[str, list[str]]:
        """Every price of a train or flight number; a flight comes before a train of the same number."""
        return grouped(self.trains, "train_no", "price") | grouped(self.flights, "flight_no", "price")

    @cached_property
    def city_of(self) -> dict[str, str]:
        """The city of each station and airport."""
        found = {}
        for row in (*self.flights, *self.trains):
            for station, city in (("dep_station_name", "origin_city"), ("arr_station_name", "destination_city")):
                if row[station].strip() and row[city].strip():
                    found[row[station].strip()] = row[city].strip()
        return found

    @cached_property
    def place(self) -> dict[str, tuple[str, str]]:
        """Latitude and longitude of each place, as text: routes are found by the exact text."""
        rows = by_name(self.locations, "poi_name").items()
        return {name: (row["latitude"].strip(), row["longitude"].strip()) for name, row in rows}

    @cached_property
    def route(self) -> dict[tuple[str, str], Row]:
        """The first row of each pair "lat,lon", "lat,lon"."""
        return {(row["origin"], row["destination"]): row for row in reversed(self.routes)}

    @cached_property
    def corners(self) -> frozenset[str]:
        """Every "lat,lon" that any route starts from or leads to."""
        return frozenset(row[end] for row in self.routes for end in ("origin", "destination"))

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name a plan may use: it tells where a name that holds " - " or ", " ends."""
        return frozenset({*self.hotel, *self.attraction, *self.restaurant, *self.city_of, *self.place})


def by_name(rows: Rows, column: str) -> dict[str, Row]:
    """Each named row; the last of a name wins, as in the official scorer."""
    return {row[column].strip(): row for row in rows if row[column].strip()}


def grouped(rows: Rows, key: str, column: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        if row[key].strip():
            found.setdefault(row[key].strip(), []).append(row[column])
    return found


@lru_cache(maxsize=8)
def read_database(folder: Path) -> Database:
    """The tables under `folder`; the last few tasks are kept, since all rollouts of a task come together.

    Raises DataError when the folder, a table or a column is not there, or a file is not CSV in UTF-8.
    """
    if not folder.is_dir():
        raise DataError(f"expected a folder with the tables of one task, got {str(folder)!r}; unpack the archive again")
    tables = {table.name: read_table(folder, table.name) for table in fields(Database)}
    if not tables["trains"] and not tables["flights"]:
        raise DataError(f"{str(folder)!r} has neither trains nor flights; unpack the archive again")
    return Database(**tables)


def read_table(folder: Path, table: str) -> Rows:
    """The rows of one table; raises DataError."""
    path = folder / FILES[table]
    if not path.is_file():
        if table in MAY_BE_ABSENT:
            return ()
        raise DataError(f"{str(path)!r} is missing; unpack the archive again")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # some files begin with a mark of byte order
            reader = csv.DictReader(file, restkey="", restval="")
            lacking = [name for name in COLUMNS[table].split() if name not in (reader.fieldnames or ())]
            if lacking := [name for name in lacking if (table, name) not in OPTIONAL]:
                raise DataError(f"{str(path)!r}: expected the column {lacking[0]!r}; take the official archive")
            return tuple(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{str(path)!r} cannot be read ({error}); unpack the archive again") from error
