"""The runs of some groups, and the points that sweeps planned there."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tipx.errors import RunError
from tipx.runs.identity import identity
from tipx.runs.reader import StoredRun, by_key, stored_runs
from tipx.runs.sweep_folder import Point, SweepFolder


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
    runs: tuple[StoredRun, ...]
    points: tuple[Planned, ...]
    damaged: tuple[StoredRun, ...] = ()

    @cached_property
    def finished(self) -> list[StoredRun]:
        """One of each: two groups may hold the same run."""
        found: dict[str, StoredRun] = {}
        for run in self.runs:
            if run.finished:
                found.setdefault(run_key(run), run)
        return list(found.values())


def run_key(run: StoredRun) -> str:
    """What is equal for two copies of one run. Text from the environment is not stored: there the label tells."""
    unread = any("${" in str(value) for value in run.config.values())
    return (run.directory.label if unread else None) or identity(run.tree)


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
    runs = [run for run in stored_runs(runs_dir) if run.path.parent in folders]
    order = {point.path: i for i, point in enumerate(points)}
    # As planned, then by age.
    runs.sort(key=lambda run: order.get(run.path, len(order)))
    bad = {run.path: run for run in runs if run.damage}
    return Store(
        tuple(folders),
        tuple(run for run in runs if run.path not in bad),
        tuple(point for point in points if point.path not in bad),
        tuple(bad.values()),
    )


def groups_of(runs_dir: Path) -> list[str]:
    """Names of the groups of runs there are."""
    return sorted(path.name for path in runs_dir.iterdir() if path.is_dir()) if runs_dir.is_dir() else []
