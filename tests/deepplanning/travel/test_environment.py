"""What a model may do to the world: nothing. No crash, no file read, no state."""

import builtins
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tipx.agents.task import Environment, Task
from tipx.deepplanning.travel.environment import LONGEST_ARGUMENT, TravelEnvironment
from tipx.deepplanning.travel.parse import MOST_LINES, parse
from tipx.deepplanning.travel.sample import sample_tasks
from tipx.deepplanning.travel.tools import TOOLS

HOSTILE = ["../../etc/passwd", "/etc/passwd", "\x00", "\ud800", "{0.__class__}", "%s%n", "nan", "", "x" * 10_000_000]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.fixture
def world() -> TravelEnvironment:
    return sample_tasks()[0].start()


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch, world: TravelEnvironment) -> None:  # noqa: ARG001 - made before
    """From here on nothing may be opened, listed or looked at."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a file was touched")

    for module, name in (
        (builtins, "open"),
        (io, "open"),
        (os, "open"),
        (os, "stat"),
        (os, "listdir"),
        (os, "scandir"),
    ):
        monkeypatch.setattr(module, name, refuse)


def error(answer: str) -> str:
    found = json.loads(answer)
    assert found.keys() == {"error"}
    return str(found["error"])


def test_tasks_and_worlds_are_what_the_agent_loop_takes(world: TravelEnvironment) -> None:
    assert isinstance(world, Environment)
    for task in sample_tasks():
        assert isinstance(task, Task)
        assert task.slice == "sample"
        assert [message["role"] for message in task.messages] == ["system", "user"]
        assert task.headline in task.start().score("", complete=True)
    assert world.follow_up() is None


@pytest.mark.parametrize("number", range(6))
def test_the_gold_script_asks_for_every_fact_and_scores_one(number: int) -> None:
    task = sample_tasks()[number]
    world, script = task.start(), task.gold()
    assert script is not None
    *calls, plan = script
    answers = [world.call(name, arguments) for turn in calls for name, arguments in turn]  # type: ignore[str-unpack]
    assert not [answer for answer in answers if answer.startswith(('{\n  "message"', '{"error'))]
    assert isinstance(plan, str)
    told = "\n".join(answers)
    for activity in (a for a in first_names(world, plan) if a):
        assert activity in told
    assert world.score(plan, complete=True)["case_acc"] == 1
    assert world.score(plan, complete=False)["delivered"] == 0
    assert world.score(f"<think>{plan}</think>", complete=True)["delivered"] == 0


def first_names(world: TravelEnvironment, plan: str) -> list[str]:
    """Every name and number in a plan."""
    found = parse(plan, world.database.names).plan
    assert found is not None
    return [name for day in found.days for a in day.activities for name in (a.name, a.origin, a.destination, a.number)]


def test_what_is_wrong_with_a_call_is_an_answer(world: TravelEnvironment) -> None:
    assert "query_train_info" in error(world.call("query_trains", {}))
    assert "depDate" in error(world.call("query_train_info", {"origin": "A", "destination": "B"}))
    assert "must be a string" in error(world.call("search_location", {"place_name": 7}))
    assert "must be a string" in error(world.call("query_hotel_info", hotel_call(hotelStar=None)))
    assert "longer" in error(world.call("search_location", {"place_name": "x" * (LONGEST_ARGUMENT + 1)}))
    assert not world.call("search_location", {"place_name": "x" * LONGEST_ARGUMENT}).startswith("{")
    assert len(error(world.call("x" * 1_000_000, {}))) < 1_000
    # Arguments that no tool knows are passed over, as the official tools do.
    assert json.loads(world.call("query_hotel_info", hotel_call(poiName="x")))


def hotel_call(**more: Any) -> dict[str, Any]:
    return {"destination": "A", "checkinDate": "B", "checkoutDate": "C"} | more


@pytest.mark.usefixtures("no_files")
@pytest.mark.parametrize("tool", TOOLS)
def test_no_argument_reaches_a_file(world: TravelEnvironment, tool: str) -> None:
    for value in HOSTILE:
        arguments = dict.fromkeys((*TOOLS[tool].required, *TOOLS[tool].optional), value)
        answer = world.call(tool, arguments)
        answer.encode("utf-8")
        assert "root:" not in answer


@given(name=st.sampled_from([*TOOLS, "", "call"]), values=st.lists(JSON, min_size=5, max_size=5), extra=JSON)
def test_any_call_has_an_answer(name: str, values: list[Any], extra: Any) -> None:
    world = sample_tasks()[0].start()
    tool = TOOLS.get(name)
    keys = (*tool.required, *tool.optional) if tool else ("origin",)
    answer = world.call(name, dict(zip(keys, values, strict=False)) | {"extra": extra})
    assert answer
    answer.encode("utf-8")


def test_a_thousand_calls_and_two_worlds_do_not_change_each_other() -> None:
    task = sample_tasks()[0]
    one, other = task.start(), task.start()
    before = other.call("recommend_attractions", {"city": "x"})
    for _ in range(1_000):
        one.call("recommend_attractions", {"city": "x"})
    assert other.call("recommend_attractions", {"city": "x"}) == before
    assert one.database is other.database


@pytest.mark.parametrize(
    "line",
    [
        "00:00-00:00 | buffer | x",
        "23:59-00:01 | hotel | Rest, Elsewhere",
        "99:99-99:99 | meal | Lunch, Elsewhere, ¥999999999/person",
        "10:00-11:00 | travel_intercity_public | train K1, A - B, ¥1",
        "Day 1:\nCurrent City: from (from (from a to b",
        "Day 2:\nAccommodation: 9, ¥9",
    ],
)
def test_the_longest_plans_are_scored_in_seconds(world: TravelEnvironment, line: str) -> None:
    mixed = f"{line}\n10:00-11:00 | buffer | x\n12:00-13:00 | attraction | A, ¥1\n"
    start = time.process_time()
    for text in (line + "\n", mixed):
        found = world.score(f"<plan>Day 1:\n{text * MOST_LINES}</plan>", complete=True)
        assert all(0 <= value <= 1 for name, value in found.items() if name != "parse_failures")
    assert time.process_time() - start < 60


LINES = st.sampled_from(
    [
        "Day 1:", "Current City: from A to B", "Current City: ", "Accommodation: -", "Accommodation: X, ¥1",
        "09:00-10:00 | meal | Lunch, X, ¥1", "24:00-00:10 | hotel | Rest, X", "7:77-99:99 | attraction | Y",
        "10:00-09:00 | travel_intercity_public | train K1, A - B, ¥1", "01:00-02:00 | travel_city | 1,2 - 3,4, ¥2",
        "02:00-02:00 | buffer | z", "Total Estimated Budget: 0", "Total Estimated Budget: 12",
    ]
)  # fmt: skip


@given(st.lists(LINES | st.text(max_size=20), max_size=12))
def test_any_plan_has_scores(lines: list[str]) -> None:
    world = sample_tasks()[0].start()
    found = world.score("<plan>" + "\n".join(lines) + "</plan>", complete=True)
    assert found.keys() == world.score("", complete=False).keys()
    assert all(0 <= value <= 1 for name, value in found.items() if name != "parse_failures")


def test_the_gold_plan_in_a_flood_of_text_is_found(world: TravelEnvironment) -> None:
    flood = "<think>" + "hm <plan> " * 100_000 + "</think>" + gold_text() + "ah " * 1_000_000
    assert world.score(flood, complete=True)["case_acc"] == 1


def gold_text() -> str:
    script = sample_tasks()[0].gold()
    assert script is not None
    assert isinstance(script[-1], str)
    return script[-1]


def test_no_module_of_the_environment_opens_files() -> None:
    folder = Path(TravelEnvironment.call.__code__.co_filename).parent
    for name in ("environment", "tools", "parse", "lines", "scoring", "hard", "plan", "trip", "clock"):
        text = (folder / f"{name}.py").read_text(encoding="utf-8")
        assert "open(" not in text.replace("is_open(", "").replace("always_open(", "")
        assert "Path" not in text
