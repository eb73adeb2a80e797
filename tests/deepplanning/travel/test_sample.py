"""The embedded tasks: the same everywhere, small, whole, and each with one best answer."""

import hashlib
from dataclasses import fields
from pathlib import Path

import pytest

from tests.deepplanning.travel.worlds import gold, write_tables
from tipx.deepplanning.travel.database import Database, read_database
from tipx.deepplanning.travel.sample import RECIPES, SEED, sample_tasks, samples
from tipx.deepplanning.travel.sample.wishes import WISHES


def test_four_english_and_two_chinese_tasks_of_two_days() -> None:
    assert [recipe[0] for recipe in RECIPES] == ["en"] * 4 + ["zh"] * 2
    assert {sample.query["meta_info"]["days"] for sample in samples()} == {2}
    assert [task.id for task in sample_tasks()][:2] == ["sample/travel_en/0", "sample/travel_en/1"]


def test_the_tasks_are_the_same_on_every_machine(tmp_path: Path) -> None:
    digest = hashlib.sha256()
    for sample in samples():
        folder = write_tables(tmp_path / sample.query["id"], sample.world.database)
        for file in sorted(folder.rglob("*.csv")):
            digest.update(file.read_bytes())
        digest.update(repr((sample.query, sample.turns)).encode())
    # Whoever changes the generator changes the tasks, and must say so here.
    assert digest.hexdigest()[:16] == "20d9a623f2ff56e6"


def test_another_seed_gives_other_tasks_and_the_same_seed_the_same() -> None:
    samples.cache_clear()
    again = samples()
    assert again is not samples(SEED + 1)
    assert [s.query for s in samples(SEED)] == [s.query for s in again]
    assert samples(SEED + 1)[0].query != again[0].query


@pytest.mark.parametrize("seed", range(20, 40))
def test_any_seed_has_gold_plans(seed: int) -> None:
    for task in sample_tasks(seed):
        script = task.gold()
        assert script is not None
        assert isinstance(script[-1], str)
        found = task.start().score(script[-1], complete=True)
        assert (found["case_acc"], found["parse_failures"]) == (1, 0), {k for k, v in found.items() if v != 1}


def test_a_task_is_small_and_reads_back_as_it_was_written(tmp_path: Path) -> None:
    for sample in samples():
        folder = write_tables(tmp_path / sample.query["id"], sample.world.database)
        assert sum(file.stat().st_size for file in folder.rglob("*.csv")) < 50_000
        read = read_database(folder)
        for table in (field.name for field in fields(Database)):
            theirs, ours = getattr(read, table), getattr(sample.world.database, table)
            assert [dict(row) for row in theirs] == [{key: row.get(key, "") for key in theirs[0]} for row in ours]


def test_the_way_between_every_two_places_is_there() -> None:
    for sample in samples():
        db = sample.world.database
        points = {",".join(db.place[name]) for name in db.place}
        assert db.route.keys() == {(a, b) for a in points for b in points if a != b}
        assert len(points) == len(db.place) == 4 + 6 + 12 + 2


def test_names_that_hold_the_separators_are_among_the_tasks() -> None:
    used = [name for sample in samples() for a in gold(sample).plan.days[0].activities for name in (a.name, a.origin)]
    assert [name for name in used if " - " in name or ", " in name]


def test_a_request_names_all_that_is_asked_for() -> None:
    for sample, (_, _, wishes) in zip(samples(), RECIPES, strict=True):
        hard = sample.query["meta_info"]["hard_constraints"]
        assert tuple(hard) == wishes
        assert all(constraint["constraint_context"] in sample.query["query"] for constraint in hard.values())


def test_the_answer_to_a_wish_is_the_best_by_a_search_of_its_own() -> None:
    first, second, *_ = samples()
    assert first.world.mode == "train"
    trains = [row for row in first.world.database.trains if row["train_no"][1] == "1" and row["segment_index"] == "1"]
    direct = [row for row in trains if not row["train_no"].endswith("88")]
    (cheapest,) = [row for row in direct if float(row["price"]) == min(float(r["price"]) for r in direct)]
    assert WISHES["train_cheapest_direct"](first.world) == {"outbound_train_no": cheapest["train_no"]}
    ranked = sorted(second.world.database.attractions, key=lambda row: -float(row["rating"]))
    assert set(WISHES["attraction_top_rated_must_visit"](second.world)["attraction_names"]) == {
        row["attraction_name"] for row in ranked[:3]
    }
    assert float(ranked[2]["rating"]) > float(ranked[3]["rating"])
