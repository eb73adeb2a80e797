"""A perfect plan for an embedded task: chosen by its hard constraints, timed by its tables, written as text."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tipx.deepplanning.travel.checks.money import cost
from tipx.deepplanning.travel.clock import minute
from tipx.deepplanning.travel.database import Row
from tipx.deepplanning.travel.plan import INTERCITY, Activity, Day, Stay, TravelPlan
from tipx.deepplanning.travel.sample.world import InventedCity
from tipx.deepplanning.travel.trip import Trip

Answers = Mapping[str, Mapping[str, Any]]

SETTLING, MEAL, LEAVING, EVENING, NIGHT = 30, 60, 20, 17 * 60 + 30, 22 * 60 + 30
"""Minutes for checking in, for a meal and for leaving a station; when dinner begins at the earliest, and a day ends."""
SPARE = 30
"""Minutes that a visit lasts beyond the least."""


@dataclass(frozen=True, slots=True)
class GoldChoice:
    """What the plan is made of; sights and meals in the order of the days: two and two on the first, one each after."""

    out: Row
    back: Row
    hotel: Row
    sights: list[Row]
    meals: list[Row]


@dataclass(slots=True)
class Clockwork:
    """A day that is being timed: where one is, at which minute, and what one has done."""

    world: InventedCity
    place: str
    now: int
    done: list[Activity] = field(default_factory=list)

    def put(self, minutes: int, **what: Any) -> None:
        self.done.append(Activity(start=hhmm(self.now), end=hhmm(self.now + minutes), **what))
        self.now += minutes

    def go(self, place: str) -> None:
        """On the road, for as long as the tables say."""
        row = road(self.world, self.place, place)
        kilometres = f"{int(row['distance_meters']) / 1000:.1f}"
        self.put(
            int(row["duration_minutes"]),
            kind="travel_city",
            origin=self.place,
            destination=place,
            cost=float(row["cost"]),
            note=kilometres,
        )
        self.place = place

    def wait(self, until: int, why: str) -> None:
        if until > self.now:
            self.put(until - self.now, kind="buffer", note=self.world.names["waits"][why])

    def see(self, sight: Row) -> None:
        self.go(sight["attraction_name"])
        minutes = int(60 * float(sight["min_visit_hours"])) + SPARE
        self.put(minutes, kind="attraction", name=self.place, cost=float(sight["ticket_price"]))

    def eat(self, restaurant: Row, which: int) -> None:
        """Lunch (0) or dinner (1)."""
        self.go(restaurant["restaurant_name"])
        self.wait(EVENING if which else 11 * 60, "wait")
        note = self.world.names["meals"][which]
        self.put(MEAL, kind="meal", name=self.place, cost=float(restaurant["price_per_person"]), note=note)


def choose(world: InventedCity, answers: Answers) -> GoldChoice:
    """What the answers ask for, and for the rest whatever comes first."""
    db, key = world.database, "train_no" if world.mode == "train" else "flight_no"
    asked = {name: value for answer in answers.values() for name, value in answer.items()}
    ways = [
        next((row for row in rows if row[key] == asked.get(f"{way}_{world.mode}_no")), rows[1])
        for way, rows in (("outbound", world.journeys(outbound=True)), ("inbound", world.journeys(outbound=False)))
    ]
    hotel = db.hotel[asked["hotel_name"]]
    wanted = list(dict.fromkeys((*asked.get("attraction_names", ()), *db.attraction)))
    sights = [db.attraction[name] for name in wanted[:3]]
    lunch = db.restaurant[asked["restaurant_name"]]
    return GoldChoice(ways[0], ways[1], hotel, sights, [*others(world, sights[:2], lunch), lunch])


def others(world: InventedCity, sights: Iterable[Row], lunch: Row) -> Iterator[Row]:
    """A restaurant at each sight, but not the one for lunch on the second day."""
    for sight in sights:
        rows = [r for r in world.database.restaurants if r["nearby_attraction_name"] == sight["attraction_name"]]
        yield next(row for row in rows if row is not lunch)


def plan(world: InventedCity, choice: GoldChoice, trip: Trip) -> TravelPlan:
    """Both days, and the total that they come to."""
    days = (first_day(world, choice), second_day(world, choice))
    return TravelPlan(days, cost(TravelPlan(days), trip))


def first_day(world: InventedCity, choice: GoldChoice) -> Day:
    hotel, names = choice.hotel["name"], world.names
    clock = Clockwork(world, choice.out["arr_station_name"], at(choice.out["dep_datetime"]))
    clock.done.append(ride(world, choice.out))
    clock.now = at(choice.out["arr_datetime"])
    clock.wait(clock.now + LEAVING, "arrive")
    clock.go(hotel)
    clock.put(SETTLING, kind="hotel", name=hotel, note=names["stops"]["in"])
    for number in range(2):
        clock.see(choice.sights[number])
        clock.eat(choice.meals[number], number)
    clock.go(hotel)
    clock.put(NIGHT - clock.now, kind="hotel", name=hotel, note=names["stops"]["rest"])
    return Day(f"from {world.home} to {world.city}", Stay(hotel, float(choice.hotel["price"])), tuple(clock.done))


def second_day(world: InventedCity, choice: GoldChoice) -> Day:
    clock = Clockwork(world, choice.hotel["name"], 9 * 60)
    clock.see(choice.sights[2])
    clock.eat(choice.meals[2], 0)
    clock.go(choice.back["dep_station_name"])
    clock.wait(at(choice.back["dep_datetime"]), "depart")
    clock.done.append(ride(world, choice.back))
    return Day(f"from {world.city} to {world.home}", None, tuple(clock.done))


def ride(world: InventedCity, row: Row) -> Activity:
    return Activity(
        kind=INTERCITY,
        start=hhmm(at(row["dep_datetime"])),
        end=hhmm(at(row["arr_datetime"])),
        mode=world.mode,
        number=row["train_no" if world.mode == "train" else "flight_no"],
        origin=row["dep_station_name"],
        destination=row["arr_station_name"],
        cost=float(row["price"]),
    )


def road(world: InventedCity, start: str, end: str) -> Row:
    place = world.database.place
    return world.database.route[",".join(place[start]), ",".join(place[end])]


def at(moment: str) -> int:
    """Minute of the day of "YYYY-MM-DD HH:MM:SS"."""
    found = minute(moment[11:16])
    assert found is not None, moment  # noqa: S101 - our own tables
    return found


def hhmm(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
