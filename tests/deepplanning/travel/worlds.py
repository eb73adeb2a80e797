"""What the tests of the travel half share: gold cases, changes to them, and the official layout on disk."""

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tipx.deepplanning.travel.database import COLUMNS, FILES, Database
from tipx.deepplanning.travel.parse import parse
from tipx.deepplanning.travel.plan import Activity, Day, TravelPlan
from tipx.deepplanning.travel.sample import SampleTask, samples
from tipx.deepplanning.travel.trip import Trip, read_trip


@dataclass(frozen=True)
class Case:
    """A plan, and what it is judged by."""

    plan: TravelPlan
    trip: Trip
    db: Database


def gold(sample: SampleTask) -> Case:
    text = sample.turns[-1]
    assert isinstance(text, str)
    db = sample.world.database
    plan = parse(text, db.names).plan
    assert plan is not None
    return Case(plan, read_trip(sample.query["meta_info"], "test"), db)


def first_gold() -> Case:
    return gold(samples()[0])


def with_day(plan: TravelPlan, number: int, change: Callable[[Day], Day]) -> TravelPlan:
    return replace(plan, days=tuple(change(day) if n == number else day for n, day in enumerate(plan.days)))


def with_activity(plan: TravelPlan, at: int, kind: str, which: int, **changes: Any) -> TravelPlan:
    """The plan with one activity of a day changed: the one numbered `which` of its kind."""

    def change(day: Day) -> Day:
        old = [activity for activity in day.activities if activity.kind == kind][which]
        return replace(day, activities=tuple(replace(a, **changes) if a is old else a for a in day.activities))

    return with_day(plan, at, change)


def each(plan: TravelPlan, change: Callable[[Activity], Activity | None]) -> TravelPlan:
    """The plan with every activity changed, or dropped where `change` gives None."""
    days = [[new for a in day.activities if (new := change(a)) is not None] for day in plan.days]
    return replace(plan, days=tuple(replace(day, activities=tuple(d)) for day, d in zip(plan.days, days, strict=True)))


def with_rows(db: Database, table: str, column: str, name: str, **cells: str) -> Database:
    """The tables with some cells of one named row changed."""
    rows = tuple({**row, **cells} if row[column] == name else row for row in getattr(db, table))
    assert rows != getattr(db, table)
    return replace(db, **{table: rows})


def write_tables(folder: Path, db: Database) -> Path:
    """The seven files of one task."""
    for table in (field.name for field in fields(Database)):
        path = folder / FILES[table]
        path.parent.mkdir(parents=True)
        write_csv(path, COLUMNS[table].split(), getattr(db, table))
    return folder


def write_csv(path: Path, columns: list[str], rows: tuple[Mapping[str, str], ...]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def write_layout(folder: Path, language: str = "en") -> int:
    """The embedded tasks of a language as the official archive has them; how many there are."""
    ours = [sample for sample in samples() if sample.language == language]
    for sample in ours:
        write_tables(folder / "database" / f"database_{language}" / f"id_{sample.query['id']}", sample.world.database)
    (folder / "data").mkdir(exist_ok=True)
    queries = [sample.query for sample in ours]
    (folder / "data" / f"travelplanning_query_{language}.json").write_text(json.dumps(queries), encoding="utf-8")
    return len(ours)
