"""Models that no row trained, where they were measured as the rows were: the teacher, and the student at the start."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tipx.errors import Damaged, ReportError
from tipx.files.names import wrong_path
from tipx.files.package_data import package_folder
from tipx.files.yamls import read_yaml
from tipx.report.keys import shown
from tipx.report.long import Measured, differing, read, setting
from tipx.report.metrics import first_like, same_grader
from tipx.report.table import Cell, Table, Values
from tipx.runs.directory import Run
from tipx.runs.metrics_file import Row
from tipx.runs.reader import StoredModel, StoredRun, dotted
from tipx.runs.results import Result, model_name, read_results

TEACHER, START = "teacher", "start"
ROLES = {TEACHER: "teacher", START: "student"}
"""Which of a run's two models each is."""
OWN = ("revision", "keep_layers")
"""Settings that make another model of a folder than `tipx eval` measures there."""


def add_references(table: Table, runs_dir: Path) -> None:
    """Lines above the rows, with a cell where the runs of a column share the model and it was measured.

    Where it was not, a note says which command measures it.
    """
    for name, role in ROLES.items():
        commands: dict[Values, str] = {}
        for column in table.columns:
            measured = [one for row in table.rows for one in table.cell(row, column).measured]
            place = place_of(table, name)
            if place in table.rows or column.metric.name == "before" or not shared(role, measured):
                continue
            cells, other = at_start(measured) if name == START else ([], None)
            if not cells:
                cells, same = of_model(table, name, measured[0], runs_dir)
                other = same or other
            if cells:
                table.references[place, column] = Cell(cells)
            elif other:
                how = differing([measured[0].facts, other])
                say(table.notes, f"no {name} on {measured[0].benchmark}: it was evaluated in another way ({how})")
            if command := command_of(role, measured[0], runs_dir):
                commands[column.values] = command
        has = {column.values for row, column in table.references if row == place_of(table, name)}
        for values, command in commands.items():
            if values not in has:
                say(table.notes, f"{name} not measured: `{command}` does it")


def place_of(table: Table, name: str) -> Values:
    """The row of a reference."""
    return (name, *[None] * (len(table.report.rows) - 1))


def shared(role: str, measured: Sequence[Measured]) -> bool:
    """Whether all runs have one model in that role, and one benchmark."""
    keys = [f"model.{role}.{key}" for key in ("path", *OWN)]
    return len({(one.benchmark, *(one.run.config.get(key) for key in keys)) for one in measured}) == 1


def at_start(measured: Sequence[Measured]) -> tuple[list[Measured], Row | None]:
    """Before the first step, of one run for each seed: runs of one seed begin alike.

    Also the facts of a result that another grader made, where there is one.
    """
    found: dict[int, Measured] = {}
    other = None
    for one in measured:
        first = first_of(one)
        if first is not None and not same_grader(first.facts, one.facts):
            other = other or first.facts
        elif first is not None and (made := read(one.run, one.benchmark, one.metric, *first)) is not None:
            found.setdefault(one.run.seed, made)
    return list(found.values()), other


def first_of(one: Measured) -> Result | None:
    """The file and facts of the same evaluation before the first step."""
    if one.metric.source == "benchmark":
        return first_like(one.run, one.facts)
    same = [result for result in one.run.first_results if result.folder.name == one.file.parent.name]
    return same[0] if same and one.metric.source == "heldout" else None


def of_model(table: Table, name: str, one: Measured, runs_dir: Path) -> tuple[list[Measured], Row | None]:
    """As `tipx eval` measured that model of a run, or as a result on held-out texts tells the teacher's perplexity.

    Also the facts of a result that was made in another way, where there is no other.
    """
    if name == TEACHER and one.metric.name == "perplexity":
        value, error = one.facts["teacher_perplexity"], one.facts.get("teacher_perplexity_se")
        return [replace(one, value=value, error=error)], None
    path = evaluated_path(ROLES[name], one)
    if path is None:
        return [], None
    folder = runs_dir / "eval" / model_name(path)
    try:
        results = [result for result in read_results(folder) if result.benchmark == one.benchmark]
    except Damaged as error:
        say(table.names, f"left out: {error}")
        return [], None
    alike = [result for result in results if setting(result.facts) == setting(one.facts)]
    run = StoredModel(Run(folder))
    made = [made for first in alike[:1] if (made := read(run, one.benchmark, one.metric, *first)) is not None]
    return made, results[0].facts if results and not alike else None


def evaluated_path(role: str, one: Measured) -> str | None:
    """The model's path, if `tipx eval` of it measures the model that the run had."""
    path, own = str(one.run.config[f"model.{role}.path"]), (one.run.config.get(f"model.{role}.{key}") for key in OWN)
    no_model = wrong_path(path) or path.startswith("-")  # which would be an option
    return None if one.metric.source != "benchmark" or any(own) or no_model else path


def command_of(role: str, one: Measured, runs_dir: Path) -> str | None:
    """`tipx eval` of a model as the run was evaluated; None where the run does not tell how."""
    path, choices = evaluated_path(role, one), one.run.choices
    if path is None or not choices:
        return None
    words = [f"benchmark={choices.get('benchmark')}"]
    words += [f"{key}={value}" for key, value in one.run.typed.items() if key.startswith("benchmark.")]
    for group, section in (("eval", "eval"), ("template", "model.template")):
        choice = choices.get(group, choices.get(f"{group}@{section}"))
        words.append(f"{group}={choice}")
        words += [f"{group}.{key}={hydra_value(value)}" for key, value in own_values(one.run, group, section, choice)]
    words += [f"dtype={one.facts['dtype']}"] if "dtype" in one.facts else []
    words += [f"runs_dir={runs_dir}"] if runs_dir != Path("runs") else []
    return shlex.join(["tipx", "eval", path, *words])


def own_values(run: StoredRun, group: str, section: str, choice: object) -> Iterator[tuple[str, Any]]:
    """Values of a section of the run's configuration that are not those of the file it chose in `conf/GROUP`."""
    files = {file.stem: file for file in (package_folder("conf") / group).glob("*.yaml")}
    file = files.get(str(choice))
    usual = dict(dotted(read_yaml(file, ReportError, "install tipx again"))) if file else {}
    for name, value in run.config.items():
        key = name.removeprefix(f"{section}.")
        if key != name and not key.endswith(("_target_", "batch_size")) and usual.get(key) != value:
            yield key, value


def hydra_value(value: Any) -> str:
    """As it is typed in an override: text that is not plain in quotes."""
    if value is None:
        return "null"
    if not isinstance(value, str) or re.fullmatch(r"[\w./:-]+", value):
        return shown(value)
    from tipx.config.launch import quote_value  # with Hydra, which most reports do not need

    return quote_value(value)


def say(notes: list[str], note: str) -> None:
    """Once, whatever the number of columns."""
    if note not in notes:
        notes.append(note)
