"""What lies on the disk: runs, their results, and the points that a sweep planned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tipx.errors import Damaged, RunError
from tipx.runs.directory import Run
from tipx.runs.find import all_runs
from tipx.runs.identity import identity, meaning
from tipx.runs.metrics_file import Row
from tipx.runs.results import read_results
from tipx.runs.sweep_folder import Point, SweepFolder


@dataclass(frozen=True)
class Stored:
    """One run as its files tell. Read when asked for, and once."""

    run: Run

    @cached_property
    def tree(self) -> dict[str, Any]:
        return self.run.config()

    @cached_property
    def config(self) -> dict[str, Any]:
        """Values by dotted key; a list is one value, as text."""
        return dict(leaves(self.tree))

    @cached_property
    def meaning(self) -> dict[str, Any]:
        """The same of what makes it the run it is: keys that change no number are not among it."""
        return dict(leaves(meaning(self.tree)))

    @cached_property
    def provenance(self) -> Row:
        return self.run.provenance()

    @property
    def start(self) -> Row:
        """The last start: commit, versions, device."""
        starts = self.provenance.get("starts") or [{}]
        return dict(starts[-1])

    def noted(self, name: str) -> Any:
        """An entry of the provenance, of the run or of its last start; None if it has none."""
        return self.provenance.get(name, self.start.get(name))

    @cached_property
    def choices(self) -> dict[str, str]:
        """Which file each config group took; {} for a run that was made before that was noted."""
        return self.noted("choices") or {}

    @property
    def overrides(self) -> list[str]:
        """As typed; [] for a run that was made before they were noted."""
        return self.noted("overrides") or []

    @cached_property
    def typed(self) -> dict[str, str]:
        """Overrides by key, without Hydra's marks."""
        return by_key(self.overrides)

    @property
    def steps(self) -> int:
        return int(self.tree["loop"]["steps"])

    @property
    def seed(self) -> Any:
        return self.tree.get("seed")

    @cached_property
    def rows(self) -> list[Row]:
        """Every line of metrics."""
        return self.run.rows()

    @cached_property
    def results(self) -> list[tuple[Path, Row]]:
        """(file, facts) of each evaluation at the last step, also those on held-out texts."""
        return self.results_at(self.steps)

    @cached_property
    def first_results(self) -> list[tuple[Path, Row]]:
        """The same before the first step."""
        return self.results_at(0)

    def results_at(self, step: int) -> list[tuple[Path, Row]]:
        return read_results(self.run.eval_dir(step))

    @cached_property
    def damage(self) -> str | None:
        """The first file of the run that is not as tipx wrote it, and what is wrong; None if all can be read."""
        try:
            _ = self.tree, self.provenance, self.rows, self.results, self.first_results
            if self.rows:
                self.run.insist_on_provenance()
            if self.run.finished:
                self.run.summary()
        except Damaged as error:
            return str(error)
        return None

    @property
    def state(self) -> str:
        """finished, running, stopped or damaged."""
        if self.damage:
            return "damaged"
        if self.run.finished:
            return "finished"
        return "running" if self.run.locked else "stopped"


@dataclass(frozen=True)
class Elsewhere(Stored):
    """The results of a model that is no run: `run` is their folder."""

    @cached_property
    def tree(self) -> dict[str, Any]:
        return {}

    @cached_property
    def provenance(self) -> Row:
        return {}


@dataclass(frozen=True)
class Planned:
    """A point of a sweep, in its folder."""

    board: SweepFolder
    point: Point

    @property
    def path(self) -> Path:
        return self.board.run(self.point).path

    @property
    def typed(self) -> dict[str, str]:
        return by_key(self.point.overrides)

    def failure(self) -> str | None:
        """The error it ended with, or None."""
        return self.board.error(self.point)


@dataclass(frozen=True)
class Store:
    """The runs of some groups, and the points planned for them: every run has one only where a sweep made it.

    `damaged` runs are none of `runs`, and nor are their points: nothing can be said about them but that.
    """

    groups: tuple[Path, ...]
    runs: tuple[Stored, ...]
    points: tuple[Planned, ...]
    damaged: tuple[Stored, ...] = ()

    @cached_property
    def finished(self) -> list[Stored]:
        """One of each: two groups may hold the same run."""
        found: dict[str, Stored] = {}
        for run in self.runs:
            if run.run.finished:
                found.setdefault(run_key(run), run)
        return list(found.values())


def run_key(run: Stored) -> str:
    """What is equal for two copies of one run. Text from the environment is not stored: there the label tells."""
    unread = any("${" in str(value) for value in run.config.values())
    return (run.run.label if unread else None) or identity(run.tree)


def read_store(runs_dir: Path, groups: Sequence[str]) -> Store:
    """Raises RunError for a group that is not there."""
    folders = []
    for group in groups:
        folder = runs_dir / group
        if not folder.is_dir():
            there = groups_of(runs_dir)
            raise RunError(
                f"no group {group!r} under {runs_dir}; there are {', '.join(there) or 'none'}; "
                f"`tipx sweep {group}` makes one, --sweep GROUP reads another"
            )
        folders.append(folder)
    boards = [SweepFolder(folder) for folder in folders]
    points = [Planned(board, point) for board in boards for point in board.points()]
    places = [run for run in all_runs(runs_dir) if run.path.parent in folders]
    order = {point.path: i for i, point in enumerate(points)}
    # As planned, then by age.
    places.sort(key=lambda run: order.get(run.path, len(order)))
    runs = [Stored(run) for run in places]
    bad = {run.run.path: run for run in runs if run.damage}
    return Store(
        tuple(folders),
        tuple(run for run in runs if run.run.path not in bad),
        tuple(point for point in points if point.path not in bad),
        tuple(bad.values()),
    )


def groups_of(runs_dir: Path) -> list[str]:
    """Names of the groups of runs there are."""
    return sorted(path.name for path in runs_dir.iterdir() if path.is_dir()) if runs_dir.is_dir() else []


def leaves(tree: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value), in order."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", str(value) if isinstance(value, (list, dict)) else value


def by_key(overrides: Sequence[str]) -> dict[str, str]:
    """`{"optim.lr": "1e-4"}` of `["++optim.lr=1e-4"]`."""
    pairs = [override.lstrip("+~").partition("=") for override in overrides]
    return {key.split("@")[0]: value for key, _, value in pairs}
