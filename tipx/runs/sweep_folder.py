"""A sweep's folder: which points it has, and how each stands, read from the files alone.

sweep.json   the points      logs/<run>.log   what a point's process said      failures/<run>.json   why one failed
                             logs/<run>.node1.log   the same on another node
<run>/       the runs
"""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from tipx.errors import Damaged, RunError
from tipx.files.atomic import damaged, read_json, set_aside, write_json
from tipx.runs import metric_keys as keys
from tipx.runs.directory import Run
from tipx.runs.mark import is_run
from tipx.runs.metrics_file import MetricRows

PLANNED = "the `tipx sweep` command plans anew"
Status = Literal["done", "running", "failed", "stopped", "waiting"]


@dataclass(frozen=True)
class Point:
    """One run of a sweep: its directory's name, the overrides that make it, and what its config groups took."""

    run: str
    overrides: tuple[str, ...]
    choices: dict[str, str] = field(hash=False)

    @property
    def label(self) -> str:
        """Its overrides but the group, which all share."""
        return " ".join(override for override in self.overrides if not override.startswith("group="))


@dataclass(frozen=True)
class State:
    """How a point stands: steps done, seconds spent, last accuracies by benchmark, and the error if it failed.

    A point that was killed is stopped or waiting, and has an error too.
    """

    point: Point
    status: Status
    step: int = 0
    seconds: float = 0.0
    accuracy: dict[str, float] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class SweepFolder:
    """The folder `runs_dir/group` of a sweep."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "sweep.json"

    def run(self, point: Point) -> Run:
        return Run(self.folder / point.run)

    def log(self, point: Point, node: int = 0) -> Path:
        """What a point's process says; on a node other than the first, what the one there says."""
        return self.folder / "logs" / (f"{point.run}.node{node}.log" if node else f"{point.run}.log")

    def failure(self, point: Point) -> Path:
        return self.folder / "failures" / f"{point.run}.json"

    def points(self) -> list[Point]:
        """What is planned here, in order; nothing where no sweep did. Raises Damaged."""
        return [parse_point(one, self.file) for one in self._plan().get("points", [])]

    @property
    def command(self) -> str:
        """What makes the points that are missing: the command that planned last."""
        return str(self._plan().get("command", f"tipx sweep {self.folder.name}"))

    def _plan(self) -> dict[str, Any]:
        plan = read_json(self.file, PLANNED) if self.file.exists() else {}
        if not isinstance(plan.get("points", []), list):
            raise damaged(self.file, "its points are no list", PLANNED)
        return plan

    def record(self, points: Iterable[Point], *, name: str, description: str, command: str) -> str | None:
        """Add points to the plan, and which command asked for them; points of an earlier call stay.

        Returns what is to be said of a plan that was damaged. Raises RunError if it cannot be written.
        """
        try:
            for part in ("logs", "failures"):
                (self.folder / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write {self.folder}: {error.strerror}; give runs_dir=/path/to/runs") from error
        with FileLock(self.folder / ".lock"):
            wrong = self._aside_if_damaged()
            new = {point.run: point for point in points}
            again = {point.overrides for point in new.values()}
            # A point that was planned under an older label, and never began, is the one that is planned now.
            older = {p.run for p in self.points() if p.overrides in again and not is_run(self.run(p).path)} - new.keys()
            known = {point.run: point for point in self.points() if point.run not in older}
            facts = {"name": name, "description": description, "command": command}
            write_json(self.file, facts | {"points": [asdict(point) for point in (known | new).values()]})
        return wrong

    def _aside_if_damaged(self) -> str | None:
        """Set aside a plan that cannot be read, and what to say of it: what is typed now plans anew."""
        try:
            self.points()
        except Damaged as error:
            return f"warning: {error}; it is kept as {set_aside(self.file, 'damaged').name}"
        return None

    def fail(self, point: Point, error: str, *, killed: bool = False) -> None:
        """Note that a point failed, or that a signal ended it, and why."""
        log = str(self.log(point).relative_to(self.folder))
        write_json(self.failure(point), {"error": error, "time": time.time(), "log": log, "killed": killed})

    def error(self, point: Point) -> str | None:
        """Why a point failed; None if it did not."""
        file = self.failure(point)
        if not file.exists():
            return None
        try:
            return str(read_json(file).get("error", f"see {self.log(point)}"))
        except Damaged:
            return f"its note {file} is damaged; see {self.log(point)}"

    def killed(self, point: Point) -> bool:
        """Whether a signal ended it, so that it may well end next time."""
        file = self.failure(point)
        return file.exists() and bool(read_json(file).get("killed", False))

    def forgive(self, point: Point) -> None:
        """Forget that a point failed."""
        self.failure(point).unlink(missing_ok=True)

    def state(self, point: Point) -> State:
        """How a point stands."""
        run, error = self.run(point), None
        finished = run.finished  # first: what is read after it then is all there is
        rows = run.good_rows()[0]
        status: Status
        if finished:
            status = "done"
        elif run.locked:
            status = "running"
        elif (error := self.error(point)) is not None and not self.killed(point):
            status = "failed"
        else:
            status = "stopped" if rows else "waiting"
        step = rows[-1][keys.STEP] if rows else 0
        return State(point, status, step, seconds_spent(rows), last_accuracies(rows), error)


def parse_point(one: Any, file: Path) -> Point:
    """A point of a plan; raises Damaged if it is none."""
    run, overrides, choices = (one.get(k) if isinstance(one, dict) else None for k in ("run", "overrides", "choices"))
    texts = (
        [run, *overrides, *choices.values()] if isinstance(overrides, list) and isinstance(choices, dict) else [None]
    )
    if not all(isinstance(text, str) for text in texts) or run != Path(str(run)).name:
        raise damaged(file, f"it holds {one!r:.60}, which is no point", PLANNED)
    return Point(str(run), tuple(map(str, overrides or ())), choices or {})


def seconds_spent(rows: MetricRows) -> float:
    """Seconds of all phases of all steps."""
    times = {key for key in rows.names if keys.TIME.part_of(key)}
    return sum(value for row in rows for key, value in row.items() if key in times)


def last_accuracies(rows: MetricRows) -> dict[str, float]:
    """The last sampled accuracy on each benchmark."""
    names = {key: name for key in rows.names if (name := keys.EVAL_MEAN.part_of(key))}
    measured = rows.having(names.__contains__)
    return {name: next(row[key] for row in reversed(measured) if key in row) for key, name in names.items()}
