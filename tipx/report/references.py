"""Models that no row trained, where they were measured as the rows were: the teacher, and the student at the start."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tipx.errors import Damaged
from tipx.files.names import wrong_path
from tipx.report.long import Measured, differing, read, setting
from tipx.report.metrics import first_like, same_grader
from tipx.report.table import Cell, Table
from tipx.runs.directory import Run
from tipx.runs.metrics_file import Row
from tipx.runs.reader import StoredModel
from tipx.runs.results import Result, model_name, read_results

TEACHER, START = "teacher", "start"
ROLES = {TEACHER: "teacher", START: "student"}
"""Which of a run's two models each is."""
OWN = ("revision", "keep_layers")
"""Settings that make another model of a folder than `tipx eval` measures there."""


def add_references(table: Table, runs_dir: Path) -> None:
    """Lines above the rows, with a cell where the runs of a column share the model and it was measured."""
    for name, role in ROLES.items():
        place = (name, *[None] * (len(table.report.rows) - 1))
        for column in table.columns:
            measured = [one for row in table.rows for one in table.cell(row, column).measured]
            if place in table.rows or column.metric.name == "before" or not shared(role, measured):
                continue
            found = at_start(table, measured) if name == START else of_teacher(table, measured[0], runs_dir)
            if found:
                table.references[place, column] = Cell(found)


def shared(role: str, measured: Sequence[Measured]) -> bool:
    """Whether all runs have one model in that role."""
    keys = [f"model.{role}.{key}" for key in ("path", *OWN)]
    return len({tuple(one.run.config.get(key) for key in keys) for one in measured}) == 1


def at_start(table: Table, measured: Sequence[Measured]) -> list[Measured]:
    """Before the first step, of one run for each seed: runs of one seed begin alike."""
    found: dict[int, Measured] = {}
    for one in measured:
        first = first_of(one)
        if first is not None and not same_grader(first.facts, one.facts):
            leave_out(table, START, one, first.facts)
        elif first is not None and (made := read(one.run, one.benchmark, one.metric, *first)) is not None:
            found.setdefault(one.run.seed, made)
    return list(found.values())


def first_of(one: Measured) -> Result | None:
    """The file and facts of the same evaluation before the first step."""
    if one.metric.source == "benchmark":
        return first_like(one.run, one.facts)
    same = [result for result in one.run.first_results if result.folder.name == one.file.parent.name]
    return same[0] if same and one.metric.source == "heldout" else None


def of_teacher(table: Table, one: Measured, runs_dir: Path) -> list[Measured]:
    """As `tipx eval` measured the teacher of a run, or as a result on held-out texts tells its perplexity."""
    if one.metric.name == "perplexity":
        return [replace(one, value=one.facts["teacher_perplexity"], error=one.facts.get("teacher_perplexity_se"))]
    path, own = str(one.run.config["model.teacher.path"]), (one.run.config.get(f"model.teacher.{key}") for key in OWN)
    if one.metric.source != "benchmark" or any(own) or wrong_path(path):
        return []
    folder = runs_dir / "eval" / model_name(path)
    try:
        results = [result for result in read_results(folder) if result.benchmark == one.benchmark]
    except Damaged as error:
        say(table.names, f"left out: {error}")
        return []
    alike = [result for result in results if setting(result.facts) == setting(one.facts)]
    if results and not alike:
        leave_out(table, TEACHER, one, results[0].facts)
    run = StoredModel(Run(folder))
    return [made for first in alike[:1] if (made := read(run, one.benchmark, one.metric, *first)) is not None]


def leave_out(table: Table, name: str, one: Measured, facts: Row) -> None:
    """Say why a measured model has no cell."""
    how = differing([one.facts, facts])
    say(table.notes, f"no {name} on {one.benchmark}: it was evaluated in another way ({how})")


def say(notes: list[str], note: str) -> None:
    """Once, whatever the number of columns."""
    if note not in notes:
        notes.append(note)
