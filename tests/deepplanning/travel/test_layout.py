"""The official layout: found, counted, and split so that no language shows the other's test tasks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deepplanning.travel.worlds import write_layout
from tipx.deepplanning.official import CHECKOUT
from tipx.deepplanning.travel.layout import BASES, TASKS, Split, load
from tipx.deepplanning.travel.prompts import LANGUAGES, PromptTexts, words
from tipx.deepplanning.travel.sample import samples
from tipx.errors import DataError

QUERIES = "travelplanning_query_en.json"


@pytest.fixture(autouse=True)
def no_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's checkout has query files too, which would stand in for a missing one."""
    monkeypatch.delenv(CHECKOUT, raising=False)


@pytest.mark.parametrize("base", BASES)
def test_tasks_are_found_wherever_the_user_points(tmp_path: Path, base: str) -> None:
    (tmp_path / base).mkdir(parents=True, exist_ok=True)
    count = write_layout(tmp_path / base)
    tasks = load(tmp_path, "en", tasks=count)
    assert [task.id for task in tasks] == [f"travel_en/{n}" for n in range(4)]
    assert {task.slice for task in tasks} == {"travel_en"}
    for task, sample in zip(tasks, samples(), strict=False):
        text = sample.turns[-1]
        assert isinstance(text, str)
        assert task.start().score(text, complete=True)["case_acc"] == 1
        assert task.gold() is None


def test_a_flat_folder_and_chinese(tmp_path: Path) -> None:
    count = write_layout(tmp_path, "zh")
    (tmp_path / "data" / "travelplanning_query_zh.json").rename(tmp_path / "travelplanning_query_zh.json")
    (tmp_path / "database" / "database_zh").rename(tmp_path / "database_zh")
    texts = PromptTexts("be good", [], "mine")
    tasks = load(tmp_path, "zh", texts, tasks=count)
    assert tasks[0].messages[0]["content"] == "be good"
    assert "座" in tasks[0].start().call("query_train_info", dict(samples()[4].turns[0][0][1]))  # type: ignore[index, arg-type]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in the folder", "in a checkout"])
def test_each_language_has_its_own_tasks_and_words(
    tmp_path: Path, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {language: write_layout(tmp_path, language) for language in LANGUAGES}
    if elsewhere:
        (tmp_path / "checkout" / "travelplanning").mkdir(parents=True)
        (tmp_path / "data").rename(tmp_path / "checkout" / "travelplanning" / "data")
        monkeypatch.setenv(CHECKOUT, str(tmp_path / "checkout"))
    for language, count in counts.items():
        tasks = load(tmp_path, language, tasks=count)
        ours = [sample.query for sample in samples() if sample.language == language]
        assert [task.messages[1]["content"] for task in tasks] == [query["query"] for query in ours]
        nowhere = {"origin": "A", "destination": "B", "depDate": "C"}
        expected = words(language)["no_trains"].format_map(nowhere)
        assert tasks[0].start().call("query_train_info", nowhere) == expected
    assert words("zh")["no_trains"] != words("en")["no_trains"]


def queries(change: Callable[[list[dict[str, object]]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "data" / QUERIES
        read = json.loads(file.read_text(encoding="utf-8"))
        changed = change(read)
        file.write_text(json.dumps(read if changed is None else changed), encoding="utf-8")

    return damage


def table(name: str, text: str | bytes | None) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "database" / "database_en" / "id_0" / name
        file.unlink()
        if text is not None:
            file.write_bytes(text if isinstance(text, bytes) else text.encode())

    return damage


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no query file": (lambda f: (f / "data" / QUERIES).unlink(), "tipx data pull deepplanning"),
    "no tables": (lambda f: (f / "database").rename(f / "elsewhere"), "no database_en"),
    "no folder of a task": (lambda f: (f / "database" / "database_en" / "id_2").rename(f / "x"), "no folder id_2"),
    "no JSON": (lambda f: (f / "data" / QUERIES).write_text("["), "cannot be read"),
    "no list": (queries(lambda _: {"a": 1}), "expected a list"),
    "a task less": (queries(lambda q: q[:3]), "expected 4 tasks, got 3"),
    "an id that is a path": (queries(lambda q: q[0].update(id="../../etc")), "expected different numbers"),
    "an id twice": (queries(lambda q: q[0].update(id="1")), "one of them twice"),
    "no query": (queries(lambda q: q[1].pop("query") and None), "lacks its query"),
    "no days": (queries(lambda q: q[1]["meta_info"].pop("days") and None), "meta_info lacks or spoils 'days'"),  # type: ignore[attr-defined]
    "no home": (queries(lambda q: q[1]["meta_info"].update(org=" ")), "org is empty"),  # type: ignore[attr-defined]
    "no hotels": (table("hotels/hotels.csv", None), "is missing"),
    "another table": (table("hotels/hotels.csv", "a,b\n1,2\n"), "expected the column 'name'"),
    "no text": (table("hotels/hotels.csv", b"\xff\xfe\x00"), "cannot be read"),
    "no journeys": (lambda f: [table(f"{n}/{n}.csv", None)(f) for n in ("trains", "flights")] and None, "neither"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    count = write_layout(tmp_path)
    damage, message = DAMAGE[name]
    damage(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, "en", tasks=count)[0].start()
    assert "\n" not in str(caught.value)


def test_there_are_120_of_each_unless_one_says_otherwise(tmp_path: Path) -> None:
    write_layout(tmp_path)
    with pytest.raises(DataError, match="expected 120 tasks, got 4"):
        load(tmp_path, "en")


def test_a_table_of_flights_may_be_missing(tmp_path: Path) -> None:
    count = write_layout(tmp_path)
    table("flights/flights.csv", None)(tmp_path)
    answer = load(tmp_path, "en", tasks=count)[0].start().call(
        "query_flight_info", {"origin": "A", "destination": "B", "depDate": "C"}
    )  # fmt: skip
    assert answer == "No flights from A to B on C."


def test_the_split_holds_a_fifth_and_depends_on_seed_and_ids_alone() -> None:
    ids = [str(n) for n in range(TASKS)]
    split = Split(seed=0, test_share=0.2)
    assert len(split.test(ids)) == 24
    assert len(split.train(ids)) == 96
    assert split.test(ids) | split.train(ids) == set(ids)
    assert not split.test(ids) & split.train(ids)
    assert split.test(reversed(ids)) == split.test(ids) == Split(seed=0, test_share=0.2).test(ids)
    assert split.test(ids) != Split(seed=1, test_share=0.2).test(ids)
    # It must be the same next year: these ids were drawn once and are written down.
    assert sorted(split.test(ids), key=int)[:6] == ["4", "6", "14", "25", "34", "35"]
