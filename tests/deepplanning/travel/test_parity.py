"""Our tools and scores beside the official ones, if TIPX_DEEPPLANNING_DIR names a checkout of QwenLM/Qwen-Agent.

The official code runs in a process of its own. Sentences (no match, what is wrong) are ours and are not compared; that
there is no match, is.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.deepplanning.travel.broken import BROKEN, broken_hard
from tests.deepplanning.travel.worlds import Case, each, first_gold, gold, with_rows, write_tables
from tipx.deepplanning.travel.checks import CHECKS
from tipx.deepplanning.travel.database import Database, read_database
from tipx.deepplanning.travel.layout import BASES
from tipx.deepplanning.travel.parse import Parsed
from tipx.deepplanning.travel.plan import Activity, Day, Stay, TravelPlan, as_json
from tipx.deepplanning.travel.sample import RECIPES, SampleTask, sample_tasks, samples
from tipx.deepplanning.travel.scoring import score

CHECKOUT = os.environ.get("TIPX_DEEPPLANNING_DIR")
pytestmark = pytest.mark.skipif(not CHECKOUT, reason="parity not run: TIPX_DEEPPLANNING_DIR names no official checkout")
Call = tuple[str, dict[str, Any]]
# How the answers begin that are text and no sentence.
LABELS = ("Recommended attractions:\n", "推荐的景点有", "Attraction ID", "景点ID")


@dataclass
class Official:
    """The worker."""

    process: subprocess.Popen[str]

    def ask(self, **request: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def judge(self, case: Case, folder: Path, meta: dict[str, Any]) -> Any:
        return self.ask(score={"folder": str(folder), "plan": as_json(case.plan), "meta": meta})


@pytest.fixture(scope="module")
def official() -> Iterator[Official]:
    root = next(Path(CHECKOUT or "", base) for base in BASES if Path(CHECKOUT or "", base, "evaluation").is_dir())
    worker = Path(__file__).with_name("official_worker.py")
    # -B: nothing is written into the user's checkout.
    command = [sys.executable, "-B", str(worker), str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Official(process)
        process.kill()


def spoiled(db: Database) -> Database:
    """Tables with empty cells, words for numbers, doubled names, and routes whose numbers sort otherwise as text."""
    first = db.attractions[0]["attraction_name"]
    db = with_rows(db, "attractions", "attraction_name", first, rating="", closing_dates="", ticket_price="free")
    db = with_rows(db, "hotels", "name", db.hotels[0]["name"], services="", score="NA", address="")
    eaten = db.restaurants[0]["restaurant_name"]
    db = with_rows(db, "restaurants", "restaurant_name", eaten, cuisine="", tags="", rating="None", price_per_person="")
    trains = ({**row, "route_index": str(12 - int(row["route_index"]))} for row in db.trains)
    prices = ("dear", "", *[row["price"] for row in db.trains[2:]])
    trains = ({**row, "price": price} for row, price in zip(trains, prices, strict=True))
    broken = {**db.routes[0], "duration_minutes": "nine"}
    doubled = (*db.restaurants, {**db.restaurants[1], "price_per_person": "7.0"})
    return replace(db, trains=tuple(trains), restaurants=doubled, routes=(broken, *db.routes[1:]))


def calls(sample: SampleTask) -> list[Call]:
    """The gold calls, every sight and restaurant, filters, and calls that match nothing or are wrong."""
    db, found = sample.world.database, [call for turn in sample.turns if isinstance(turn, list) for call in turn]
    trains = next(args for name, args in found if name in ("query_train_info", "query_flight_info"))
    for name in ("query_train_info", "query_flight_info"):
        found += [(name, trains), (name, trains | {"seatClassName": sample.world.names["seat"]["train"]})]
        found += [(name, trains | {"seatClassName": ""}), (name, trains | {"depDate": "2000-01-01"})]
        found += [(name, trains | {"origin": 7}), (name, {"origin": "A"})]
    nights = next(args for name, args in found if name == "query_hotel_info")
    found += [("query_hotel_info", nights | {"hotelStar": star}) for star in ("3", "4", "9", "", 3)]
    found += [
        ("query_hotel_info", nights | {"hotelBrands": brand, "destination": "Mars"}) for brand in ("Heron", "云雀")
    ]
    found += [
        ("recommend_attractions", {"city": "Mars", "attraction_type": row["attraction_type"]}) for row in db.attractions
    ]
    found += [("query_attraction_details", {"attraction_name": row["attraction_name"]}) for row in db.attractions]
    found += [("query_restaurant_details", {"restaurant_name": row["restaurant_name"]}) for row in db.restaurants]
    points = [{"latitude": row["query_latitude"], "longitude": row["query_longitude"]} for row in db.restaurants]
    found += [("recommend_restaurants", point) for point in points]
    found += [("search_location", {"place_name": row["poi_name"]}) for row in db.locations]
    found += [("query_road_route_info", {k: row[k] for k in ("origin", "destination")}) for row in db.routes[:50]]
    point = db.routes[0]["origin"]
    found += [("query_road_route_info", {"origin": point, "destination": point})]
    found += [("query_road_route_info", {"origin": point, "destination": "0,0"})]
    for name, key in (("search_location", "place_name"), ("query_attraction_details", "attraction_name")):
        found += [(name, {key: "Elsewhere"}), (name, {key: ""}), (name, {key: ["x"]}), (name, {})]
    found += [
        ("query_restaurant_details", {"restaurant_name": "{0} %s"}),
        ("recommend_attractions", {"city": "", "attraction_type": "x"}),
    ]
    return [*found, ("recommend_restaurants", {"latitude": "1", "longitude": "1.0"})]


def kind(answer: str) -> Any:
    """What two answers must have in common: all of it, unless it is a sentence."""
    try:
        read = json.loads(answer)
    except ValueError:
        return answer if answer.startswith(LABELS) else "a sentence"
    if isinstance(read, dict) and "error" in read:
        return "an error"
    if isinstance(read, dict) and "message" in read:
        return read | {"message": "a sentence"}
    return answer


@pytest.mark.parametrize("spoil", [False, True])
@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_the_tools_answer_alike(official: Official, tmp_path: Path, number: int, spoil: bool) -> None:
    sample = samples()[number]
    db = spoiled(sample.world.database) if spoil else sample.world.database
    folder = write_tables(tmp_path / "id_0", db)
    environment = replace(sample_tasks()[number].start(), database=read_database(folder))
    asked = calls(sample)
    theirs = official.ask(tools={"folder": str(folder), "language": sample.language, "calls": asked})
    assert len(theirs) == len(asked) > 100
    for (name, arguments), answer in zip(asked, theirs, strict=True):
        # A slip of theirs that we do not repeat: no flight is an exception, about an argument that is missing.
        slip = name == "query_flight_info" and "required positional argument" in answer
        assert kind(environment.call(name, arguments)) == ("a sentence" if slip else kind(answer)), (name, arguments)


def compare(official: Official, case: Case, folder: Path, meta: dict[str, Any]) -> set[str]:
    """Asserts that all results are the same; gives the names of what failed."""
    theirs = official.judge(case, folder, meta)
    ours = score(Parsed(case.plan), case.trip, case.db)
    if case.plan.days:
        assert {name: bool(ours[f"check/{name}"]) for name in CHECKS} == theirs["checks"]
    assert ours["commonsense_score"] == theirs["commonsense"]
    assert {name: bool(ours[f"hard/{name}"]) for name in case.trip.hard} == theirs["hard"]
    assert ours["personalized_score"] == theirs["personalized"]
    return {name for name, passed in (theirs["checks"] | theirs["hard"]).items() if not passed}


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_gold_and_missed_hard_constraints_score_alike(official: Official, tmp_path: Path, number: int) -> None:
    sample, folder = samples()[number], write_tables(tmp_path / "id_0", samples()[number].world.database)
    meta = sample.query["meta_info"]
    assert compare(official, gold(sample), folder, meta) == set()
    for name in meta["hard_constraints"]:
        assert name in compare(official, broken_hard(number, name), folder, meta)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_plans_score_alike(official: Official, tmp_path: Path, name: str) -> None:
    case = BROKEN[name](first_gold())
    meta = samples()[0].query["meta_info"] | {"days": case.trip.days}
    assert compare(official, case, write_tables(tmp_path / "id_0", case.db), meta) == {name}


@pytest.mark.parametrize("days", [0, 1, 2, 5])
def test_empty_days_score_alike(official: Official, tmp_path: Path, days: int) -> None:
    case = replace(first_gold(), plan=TravelPlan((Day(),) * days))
    compare(official, case, write_tables(tmp_path / "id_0", case.db), samples()[0].query["meta_info"])


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_randomly_changed_plans_score_alike(official: Official, tmp_path: Path, number: int) -> None:
    sample, folder = samples()[number], write_tables(tmp_path / "id_0", samples()[number].world.database)
    rng, failures = Random(number), set()
    for _ in range(150):
        case = changed(gold(sample), rng)
        failures |= compare(official, case, folder, sample.query["meta_info"])
    # Else the changes would be too tame to tell anything.
    assert len(failures & CHECKS.keys()) >= 17


def changed(case: Case, rng: Random) -> Case:
    """One to four changes anywhere: times, names, prices, order, days."""
    plan = case.plan
    for _ in range(rng.randint(1, 4)):
        plan = rng.choice((twisted, moved, headed, bought))(plan, case, rng)
    return replace(case, plan=plan)


def twisted(plan: TravelPlan, case: Case, rng: Random) -> TravelPlan:
    """Some activities with another time, name, kind or price; some dropped."""
    share, names = rng.choice((0.05, 0.3)), [*sorted(case.db.names), "Elsewhere", "", "31.2,118.4"]
    times = ["00:10", "07:55", "8:30", "09:00", "10:00", "12:20", "15:00", "16:01", "23:50", "24:00", "25:70"]

    def change(activity: Activity) -> Activity | None:
        if rng.random() > share:
            return activity
        options: list[dict[str, Any]] = [{"start": rng.choice(times)}, {"end": rng.choice(times)}]
        options += [{key: rng.choice(names)} for key in ("name", "origin", "destination", "number")]
        options += [
            {"cost": rng.choice((None, 0.0, 49.5, 50.5, 120.0, 1e6))},
            {"mode": rng.choice(("train", "flight"))},
        ]
        options += [{"kind": rng.choice(("buffer", "meal", "hotel", "attraction", "travel_city"))}]
        return None if rng.random() < 0.2 else replace(activity, **rng.choice(options))

    return each(plan, change)


def moved(plan: TravelPlan, _: Case, rng: Random) -> TravelPlan:
    """Activities of a day in another order, or days doubled, swapped or lost."""
    days = list(plan.days)
    match rng.randrange(4):
        case 0 if days:
            at = rng.randrange(len(days))
            acts = list(days[at].activities)
            rng.shuffle(acts)
            days[at] = replace(days[at], activities=tuple(acts))
        case 1:
            days.reverse()
        case 2 if days:
            days.insert(rng.randrange(len(days) + 1), rng.choice(days))
        case _:
            days = days[1:]
    return replace(plan, days=tuple(days))


def headed(plan: TravelPlan, case: Case, rng: Random) -> TravelPlan:
    """Another city or hotel in the days' heads."""
    home, city = case.trip.origin, case.db.attractions[0]["city"]
    cities = (home, city, f"from {home} to {city}", f"from {city} to {home}", f"from {city} (north) to {home}, late")
    stays = (None, Stay("", None), Stay("-", None), *(Stay(n, float(row["price"])) for n, row in case.db.hotel.items()))
    days = [
        replace(day, city=rng.choice(cities)) if rng.random() < 0.5 else replace(day, stay=rng.choice(stays))
        for day in plan.days
    ]
    return replace(plan, days=tuple(days))


def bought(plan: TravelPlan, _: Case, rng: Random) -> TravelPlan:
    return replace(plan, total=rng.choice((None, 0.0, (plan.total or 0) * 1.09, 1.0)))
