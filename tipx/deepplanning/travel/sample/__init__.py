"""The embedded travel tasks: our own seeded cities with invented names, in the official schema.

They show that everything works and teach a small model; their scores are not comparable with anybody's, and so their
slice is "sample". Nothing is stored: the same code and seed give the same tasks on every machine.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tipx.deepplanning.travel.prompts import Language, own_texts
from tipx.deepplanning.travel.sample.draw import between
from tipx.deepplanning.travel.sample.gold import GoldChoice, choose, plan
from tipx.deepplanning.travel.sample.script import turns
from tipx.deepplanning.travel.sample.wishes import WISHES
from tipx.deepplanning.travel.sample.world import InventedCity, Mode, Names, build
from tipx.deepplanning.travel.task import TravelTask, Turn
from tipx.deepplanning.travel.trip import read_trip

SLICE = "sample"
SEED = 6
FIRST = date(2027, 3, 10)
"""A Wednesday; each task leaves a week after the one before."""

Recipe = tuple[Language, Mode, tuple[str, ...]]
RECIPES: tuple[Recipe, ...] = (
    (
        "en",
        "train",
        (
            "train_earliest_departure_direct",
            "hotel_star_service_required",
            "restaurant_specific_tag_nearby",
            "attraction_must_visit_named",
            "budget_constraint",
        ),
    ),
    (
        "en",
        "flight",
        (
            "flight_cheapest_airline_direct",
            "hotel_cheapest_brand",
            "restaurant_highest_rated",
            "attraction_top_rated_must_visit",
        ),
    ),
    (
        "en",
        "train",
        ("train_seat_status", "hotel_highest_rated", "restaurant_must_eat_named", "attraction_type_highest_rated"),
    ),
    (
        "en",
        "flight",
        (
            "flight_shortest_duration_direct",
            "hotel_price_range",
            "restaurant_cheapest_nearby_attraction",
            "attraction_all_free_attractions",
            "budget_constraint",
        ),
    ),
    (
        "zh",
        "train",
        (
            "train_cheapest_direct",
            "hotel_newest_decoration",
            "restaurant_closest_to_attraction",
            "attraction_all_of_type",
            "budget_constraint",
        ),
    ),
    (
        "zh",
        "train",
        (
            "train_latest_arrival_direct",
            "hotel_highest_rated",
            "restaurant_highest_rated",
            "attraction_must_visit_named",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class SampleTask:
    """One embedded task: `query` is an entry of a query file, `choice` what its gold plan is made of."""

    language: Language
    query: dict[str, Any]
    world: InventedCity
    choice: GoldChoice
    turns: tuple[Turn, ...]


@cache
def samples(seed: int = SEED) -> tuple[SampleTask, ...]:
    """Every embedded task."""
    return tuple(make(seed, number, *recipe) for number, recipe in enumerate(RECIPES))


def sample_tasks(seed: int = SEED) -> list[TravelTask]:
    """The embedded tasks as an agent is given them, with gold scripts."""
    return [task(sample) for sample in samples(seed)]


def task(sample: SampleTask) -> TravelTask:
    return TravelTask(
        id=f"{SLICE}/travel_{sample.language}/{sample.query['id']}",
        slice=SLICE,
        query=sample.query["query"],
        trip=read_trip(sample.query["meta_info"], "the embedded sample"),
        language=sample.language,
        texts=own_texts(sample.language),
        database=lambda: sample.world.database,
        script=sample.turns,
    )


def make(seed: int, number: int, language: Language, mode: Mode, wishes: tuple[str, ...]) -> SampleTask:
    """The task of that number; it depends on nothing but its arguments."""
    rng = Random(f"tipx travel sample {seed} {number}")  # noqa: S311 - no secret is made
    world = build(rng, names(language), mode, FIRST + timedelta(weeks=number), between(rng, 2, 4))
    answers = {name: WISHES[name](world) for name in wishes if name in WISHES}
    choice = choose(world, answers)
    gold = plan(world, choice, read_trip(meta(world, answers), "the embedded sample"))
    if "budget_constraint" in wishes:
        # Room for a tenth more than the gold plan costs.
        answers["budget_constraint"] = {"max_budget": 100 * round((gold.total or 0) * 1.1 / 100 + 0.5)}
    query = {"id": str(number), "query": request(world, answers), "meta_info": meta(world, answers)}
    return SampleTask(language, query, world, choice, turns(world, choice, gold))


def meta(world: InventedCity, answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "org": world.home,
        "dest": [world.city],
        "days": 2,
        "depart_date": world.out.isoformat(),
        "return_date": world.back.isoformat(),
        "depart_weekday": world.out.isoweekday(),
        "people_number": world.people,
        "room_number": world.rooms,
        "hard_constraints": {
            name: {"constraint_context": wish(world.names, name, answer), **answer} for name, answer in answers.items()
        },
    }


def request(world: InventedCity, answers: dict[str, dict[str, Any]]) -> str:
    wishes = [wish(world.names, name, answer) for name, answer in answers.items()]
    text: str = world.names["query"].format(
        origin=world.home,
        city=world.city,
        out=world.out.isoformat(),
        back=world.back.isoformat(),
        weekday=world.names["weekdays"][world.out.weekday()],
        people=world.people,
        rooms=world.rooms,
        mode=world.names["modes"][world.mode],
        wishes=world.names["joint"].join(wishes),
    )
    return text


def wish(names: Names, name: str, answer: dict[str, Any]) -> str:
    """A hard constraint in words."""
    listed = {key: ", ".join(value) if isinstance(value, list) else value for key, value in answer.items()}
    return str(names["wishes"][name]).format_map(listed)


@cache
def names(language: Language) -> Names:
    file = Path(__file__).parents[1] / "texts" / f"sample_{language}.yaml"
    read: Names = yaml.safe_load(file.read_text(encoding="utf-8"))
    return read
