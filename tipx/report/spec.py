"""A report as YAML: which runs, what stands in the rows and columns, which figures."""

import difflib
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError, field_validator

from tipx.errors import ReportError
from tipx.files.package_data import package_folder
from tipx.files.yamls import read_yaml
from tipx.report.metrics import TIME, metric
from tipx.runs.metric_keys import QUADRANTS, current
from tipx.spec import Count, spec

SHORT = {"quadrants": QUADRANTS, "time": TIME}
"""Names that stand for several values."""
Kind = Literal["bars", "against_ratio", "curves", "quadrants", "scatter"]


@spec
class FigureSpec:
    """One picture of a report."""

    kind: Kind
    """bars: a value by row. against_ratio: a value against tokens kept. curves: a value over training. quadrants:
    their shares over training. scatter: kept tokens by entropy and divergence."""
    value: str | None = None
    """One of the report's values, or a key of metrics.jsonl. null is the report's first."""

    @field_validator("value")
    @classmethod
    def _current(cls, given: str | None) -> str | None:
        return given and current(given)


@spec
class Report:
    """A table and its figures."""

    title: str
    """The heading of the table and of the page."""
    rows: tuple[str, ...]
    """Config groups (selector) or dotted keys (optim.lr) that tell rows apart, beside the seed. Runs that differ in
    anything else are refused."""
    columns: tuple[str, ...] = ()
    """Config groups or dotted keys that tell columns apart. benchmark is a column unless it is a row."""
    values: tuple[str, ...] = ("mean",)
    """What stands in the cells: names as mean, greedy, kept, memory, best@4, or keys of metrics.jsonl. quadrants is
    short for q1, q2, q3 and q4, and time for step_s and the shares of rollout, score and train; gap is the share of the
    way from start to teacher, saved the share of the baseline's step."""
    sweep: tuple[str, ...] = ()
    """Groups under the runs' folder whose runs are read. Empty is the report's own name."""
    baseline: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    """Row keys with the values of the row that all others are tested against. Empty tests nothing."""
    paper: tuple[Count, ...] = ()
    """Tables of arXiv 2604.14084 whose numbers stand beside ours where a cell is the same thing."""
    figures: tuple[FigureSpec, ...] = ()
    """Pictures to draw, each with a kind and a value."""

    @field_validator("rows", "values")
    @classmethod
    def _not_empty(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not given:
            raise ValueError("expected at least one")
        return given

    @field_validator("values")
    @classmethod
    def _short(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for value in given for name in SHORT.get(value, (value,)))

    @field_validator("values")
    @classmethod
    def _metrics(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(metric(name).name for name in given)
        except ReportError as error:
            raise ValueError(str(error)) from error

    @field_validator("sweep", mode="before")
    @classmethod
    def _one_or_more(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @property
    def keys(self) -> list[str]:
        """What a run's place in the table depends on, without the benchmark."""
        return [key for key in (*self.rows, *self.columns) if key != "benchmark"]


def available(own: Path | None) -> dict[str, Path]:
    """Report files by name, the user's own before those that come with tipx; raises ReportError for no folder."""
    if own is not None and not own.is_dir():
        raise ReportError(f"--report-dir: {own} is not a folder; give one that holds YAML as in reports/")
    folders = [package_folder("reports"), *([own] if own else [])]
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}


def load(name: str, own: Path | None) -> Report | None:
    """The report of that name, or in that file; None if there is none. Raises ReportError for one that is not valid."""
    file = Path(name) if name.endswith(".yaml") else available(own).get(name)
    if file is None:
        return None
    tree = read_yaml(file, ReportError, "`tipx report --list` names those there are")
    try:
        return TypeAdapter(Report).validate_python(tree)
    except ValidationError as error:
        raise ReportError(f"{file}: {explained(error)}") from error


def explained(error: ValidationError) -> str:
    """The first thing that is wrong, by its key."""
    # A misspelt key is also a missing one: the first says more.
    first = min(error.errors(), key=lambda one: one["type"] == "missing")
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "unexpected_keyword_argument":
        names = list(Report.__dataclass_fields__) if len(first["loc"]) == 1 else ["kind", "value"]
        near = difflib.get_close_matches(key.rsplit(".", 1)[-1], names, n=1)
        return f"{key}: no such key; expected {f'{near[0]}' if near else ', '.join(names)}"
    if first["type"] == "missing":
        return f"{key}: is missing; every report has title and rows"
    given = first["input"]
    said = f", got {given!r}" if not isinstance(given, (dict, tuple, list)) else ""
    return f"{key}: {first['msg'].removeprefix('Value error, ')}{said}"
