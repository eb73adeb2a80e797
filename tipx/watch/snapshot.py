"""From the files of a runs folder to a `WatchSnapshot`; what did not change since the last look is not read again."""

import difflib
import math
import os
import shlex
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import psutil

from tipx.errors import Damaged
from tipx.files.atomic import damaged
from tipx.runs.directory import FRESH, Run
from tipx.runs.find import runs_of
from tipx.runs.mark import is_run
from tipx.runs.sweep_folder import Point, SweepFolder
from tipx.watch.alerts import (
    LockHolder,
    WatchedFacts,
    find_alerts,
    find_full_disk,
    find_idle_sweep,
    is_stalled,
)
from tipx.watch.series import MetricsTail
from tipx.watch.state import Alert, RunRow, State, WatchSnapshot, distinguish_labels, estimate_end, one_line, thin_curve

DAY_S = 86_400.0
"""A group that was written within so many seconds is shown without being asked for."""
CURVE_POINTS = 60
"""Of a small picture: one for each two or three of its pixels."""
LOCKS = Path("/proc/locks")

Content = TypeVar("Content")


class Reread(Generic[Content]):
    """What a file holds, read again only when the file is another; raises Damaged each time if that is what it is."""

    def __init__(self, file: Path, read: Callable[[], Content]) -> None:
        self.file, self.read = file, read
        self.seen: tuple[int, ...] | None = None
        self.content: Content | Damaged | None = None

    def get(self) -> Content:
        seen = file_state(self.file)
        if self.content is None or seen != self.seen:
            self.seen = seen
            try:
                self.content = self.read()
            except Damaged as error:
                self.content = error
        if isinstance(self.content, Damaged):
            raise self.content
        return self.content


def file_state(file: Path) -> tuple[int, ...]:
    """What changes when a file does; () if it is not there."""
    try:
        there = file.stat()
    except OSError:
        return ()
    return there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns


def written_at(*files: Path) -> float:
    """When the newest of some files was written, by the file system's clock; 0 if none is there."""
    times = [0.0]
    for file in files:
        with suppress(OSError):
            times.append(file.stat().st_mtime)
    return max(times)


@dataclass(frozen=True)
class PointNote:
    """What a sweep's folder says of a run: its point, why it failed, whether a signal ended it, and how to go on."""

    point: Point | None = None
    error: str | None = None
    killed: bool = False
    log: Path | None = None
    again: str | None = None

    def state_without_process(self, *, begun: bool) -> State:
        """How a run stands that is not finished and that no process writes; `begun` is whether it has a line."""
        if self.error is not None:
            return "stopped" if self.killed else "failed"
        return "waiting" if self.point is not None and not begun else "stopped"


class WatchedRun:
    """One run directory, and what was read of it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.tail = MetricsTail(run.metrics_file)
        self.config = Reread(run.config_file, run.config)
        self.provenance = Reread(run.path / "provenance.json", run.provenance)
        self.summary = Reread(run.path / "summary.json", run.summary)
        self.sizes: dict[Path, int] = {}
        self.written: float | None = None
        self.wrote_at = 0.0
        self.locked_at = -math.inf

    def look(self, now: float, note: PointNote, label: str) -> WatchedFacts:
        """How it stands at `now`, seconds since 1970."""
        finished, locked = self.run.finished, self.run.locked  # before the lines: these are then all there are
        self.tail.read()
        if locked:
            self.locked_at = now
        if not finished and not locked:
            finished = self.run.finished  # it may have come to its end since
            self.tail.read()
        damage = self.find_damage(finished=finished, locked=locked)
        quiet_s, series, tree = self.quiet_seconds(now), self.tail.series, self.tree()
        state: State
        if damage is not None:
            state = "damaged"
        elif finished:
            state = "finished"
        elif locked:
            state = "stalled" if self.is_stalled(now, quiet_s) else "running"
        else:
            state = note.state_without_process(begun=series.step is not None)
        step, steps = series.step or 0, tree["loop"]["steps"] if tree else None
        pace, left = series.step_s, None
        if pace is not None and steps is not None and state == "running":
            left = pace * max(steps - step, 0)
        row = RunRow(
            group=one_line(self.run.path.parent.name),
            run=one_line(self.run.path.name),
            label=one_line(label),
            state=state,
            step=step,
            steps=steps,
            steps_per_minute=60 / pace if pace else None,
            seconds_left=left,
            seconds=series.total_s,
            accuracy=series.accuracy.last,
            loss=series.loss.last,
            kept_frac=series.kept.last,
            mean_length=series.length.last,
            loss_curve=thin_curve(series.loss.steps, series.loss.values, CURVE_POINTS),
            accuracy_curve=thin_curve(series.accuracy.steps, series.accuracy.values, CURVE_POINTS),
        )
        saved = [] if finished else self.run.checkpoints.saved()
        return WatchedFacts(
            row=row,
            path=self.run.path,
            series=series,
            tree=tree,
            damage=damage,
            saved=saved[-1][0] if saved else None,
            checkpoint_bytes=self.folder_bytes(saved[-1][1]) if saved else 0,
            sampled=(self.run.path / "rollouts").is_dir(),
            quiet_s=quiet_s,
            released_s=now - self.locked_at,
            holder=find_lock_holder(self.run.path / ".lock") if state == "stalled" else None,
            error=note.error,
            log=note.log,
            again=note.again or self.own_command(),
        )

    def tree(self) -> dict[str, Any]:
        """The configuration; {} where it cannot be read."""
        try:
            return self.config.get()
        except Damaged:
            return {}

    def own_command(self) -> str:
        """What was typed for a run that is no point of a sweep."""
        try:
            noted = self.provenance.get()
            argv = (noted.get("starts") or [{}])[-1].get("argv", [])
            if "--config" in argv:  # a whole configuration in a file, with no overrides
                return shlex.join(["tipx", *argv[1:]])
            return shlex.join(["tipx", "train", *(noted.get("overrides") or [])])
        except Damaged:
            return "the run's `tipx train` command"

    def find_damage(self, *, finished: bool, locked: bool) -> str | None:
        """The first file that is not as tipx wrote it; a process that starts may not have written all yet."""
        if locked and not (self.run.config_file.exists() and (self.run.path / "provenance.json").exists()):
            return None
        try:
            self.config.get()
            self.provenance.get()
            problem, last = self.tail.problem, self.tail.series.step or 0
            if finished and problem is None and last < (steps := self.summary.get().get("steps", 0)):
                problem = f"it ends at step {last} of {steps}"
        except Damaged as error:
            return str(error)
        if problem is None:
            return None
        again = FRESH if finished else "the run's `tipx train` command goes back to before it"
        return str(damaged(self.run.metrics_file, problem, again))

    def quiet_seconds(self, now: float) -> float | None:
        """Since the last line was written; None before the first.

        A file may be dated in the future, where clocks differ: then it counts from when that was seen first.
        """
        if self.tail.written is None:
            return None
        if self.tail.written != self.written:
            self.written, self.wrote_at = self.tail.written, min(self.tail.written, now)
        return max(now - self.wrote_at, 0.0)

    def is_stalled(self, now: float, quiet_s: float | None) -> bool:
        """Whether a run that is locked writes nothing, neither lines nor answers, checkpoints or rollouts.

        A run that was started after its last line loads models, and has no usual time for that.
        """
        if quiet_s is None or not is_stalled(quiet_s, self.tail.series.longest_s):
            return False
        path = self.run.path
        if written_at(path / "provenance.json", path / "preflight.json") > (self.written or 0.0):
            return False
        others = [file for part in ("evals/*/*/*", "checkpoints/.*.tmp/*", "rollouts/*") for file in path.glob(part)]
        return is_stalled(min(quiet_s, now - written_at(*others)), self.tail.series.longest_s)

    def folder_bytes(self, folder: Path) -> int:
        """The size of a checkpoint, which never changes."""
        if folder not in self.sizes:
            self.sizes = {folder: sum(len_of(file) for file in folder.glob("*"))}
        return self.sizes[folder]


def len_of(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0


def find_lock_holder(lock: Path) -> LockHolder | None:
    """Which process holds a file's lock, as Linux lists them; None where that cannot be told."""
    try:
        there = lock.stat()
        place = f"{os.major(there.st_dev):02x}:{os.minor(there.st_dev):02x}:{there.st_ino}"
        lines = [line.split() for line in LOCKS.read_text().splitlines()]
        pid = next(int(words[4]) for words in lines if len(words) > 5 and words[5] == place and "->" not in words)
        return LockHolder(pid, psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except (OSError, ValueError, StopIteration, psutil.Error):
        return None


class WatchedGroup:
    """One folder of runs, which may be a sweep's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.board = folder, SweepFolder(folder)
        self.runs: dict[str, WatchedRun] = {}
        self.points = Reread(self.board.file, self.board.points)
        self.command = Reread(self.board.file, lambda: safe_command(self.board))

    def look(self, now: float) -> tuple[list[WatchedFacts], list[Alert]]:
        """Its runs, points of the plan first and in their order, and what is wrong."""
        paths = {run.path.name: run for run in runs_of(self.folder)}
        self.runs = {name: self.runs.get(name) or WatchedRun(run) for name, run in paths.items()}
        points, alerts = list[Point](), list[Alert]()
        try:
            points = self.points.get()
        except Damaged as error:
            seen, _, advice = str(error).rpartition("; ")
            alerts.append(Alert("damaged", one_line(self.folder.name), one_line(seen), one_line(advice)))
        short = distinguish_labels([point.label for point in points])
        labels = {point.run: label for point, label in zip(points, short, strict=True)}
        notes = {point.run: self.read_note(point) for point in points}
        facts = []
        for name in [*labels, *(name for name in self.runs if name not in labels)]:
            note, label = notes.get(name, PointNote()), labels.get(name, name)
            facts.append(self.look_at_run(name, now, note, label))
        # One that was removed meanwhile is not damaged.
        facts = [run for run in facts if run.damage is None or is_run(run.path)]
        alerts += [alert for run in facts for alert in find_alerts(run)]
        if points:
            planned = [run for run in facts if run.path.name in labels]
            written = written_at(self.board.file, *(self.board.log(point) for point in points))
            quiet = [now - written, *(run.quiet_s for run in planned if run.quiet_s is not None)]
            idle = find_idle_sweep(self.folder.name, self.command.get(), min(quiet), planned)
            alerts += [] if idle is None else [idle]
        return facts, alerts

    def read_note(self, point: Point) -> PointNote:
        """What the folder says of a point."""
        log = self.board.log(point)
        error, killed = self.board.error(point), False
        with suppress(Damaged):  # `error` says so
            killed = self.board.killed(point)
        return PointNote(point, error, killed, log if log.exists() else None, self.command.get())

    def look_at_run(self, name: str, now: float, note: PointNote, label: str) -> WatchedFacts:
        """How a run of that name stands, also one that is only planned."""
        if name not in self.runs:
            return self.look_at_point(name, note, label)
        try:
            return self.runs[name].look(now, note, label)
        except OSError as error:  # it was removed at this moment, or may not be read
            row = RunRow(one_line(self.folder.name), one_line(name), one_line(label), "damaged")
            wrong = damaged(self.folder / name, f"it cannot be read ({error.strerror})", "allow reading it")
            return WatchedFacts(row, self.folder / name, damage=str(wrong))

    def look_at_point(self, name: str, note: PointNote, label: str) -> WatchedFacts:
        """A point without a run: it waits, it starts, or it failed before its first step."""
        locked = Run(self.folder / name).locked
        state: State = "running" if locked else note.state_without_process(begun=False)
        row = RunRow(one_line(self.folder.name), one_line(name), one_line(label), state)
        again = note.again or "the same command"
        return WatchedFacts(row, self.folder / name, error=note.error, log=note.log, again=again)

    def is_active(self, now: float) -> bool:
        """Whether one of its runs is running or was written within a day."""
        files = [self.board.file, *(file for file in self.folder.glob("*/metrics.jsonl") if is_run(file.parent))]
        return now - written_at(*files) < DAY_S or any(run.locked for run in runs_of(self.folder))


def safe_command(board: SweepFolder) -> str:
    """The command that does what is left. It is somebody's text: what is no `tipx sweep` is not to be typed."""
    try:
        words = shlex.split(board.command)
    except (ValueError, Damaged):
        words = []
    return shlex.join(words) if words[:2] == ["tipx", "sweep"] else "the sweep's command"


class RunsWatcher:
    """Looks at a runs folder again and again; each look reads only what is new."""

    def __init__(self, runs_dir: Path, group: str | None = None) -> None:
        self.runs_dir, self.group = runs_dir, group
        self.groups: dict[str, WatchedGroup] = {}

    def look(self, now: float | None = None) -> WatchSnapshot:
        """The state at `now`, seconds since 1970."""
        now = time.time() if now is None else now
        there = group_folders(self.runs_dir)
        self.groups = {folder.name: self.groups.get(folder.name) or WatchedGroup(folder) for folder in there}
        facts, alerts = list[WatchedFacts](), list[Alert]()
        for name, group in self.groups.items():
            with suppress(OSError):  # a folder that is removed at this moment
                if name == self.group or (self.group is None and group.is_active(now)):
                    runs, wrong = group.look(now)
                    facts += runs
                    alerts += wrong
        with suppress(OSError):
            full = find_full_disk(self.runs_dir, shutil.disk_usage(self.runs_dir).free, facts)
            alerts += [] if full is None else [full]
        rows = tuple(run.row for run in facts)
        title = one_line(str(self.runs_dir if self.group is None else self.runs_dir / self.group))
        return WatchSnapshot(now, title, rows, tuple(alerts), estimate_end(now, rows), "" if rows else self.why_empty())

    def why_empty(self) -> str:
        """What to say where there is nothing to show."""
        if self.group is None:
            ask = "`tipx runs` lists all, `tipx watch GROUP` shows an older group" if self.groups else "none is there"
            return one_line(f"no run under {self.runs_dir} is running or was written in the last day; {ask}")
        near = difflib.get_close_matches(self.group, self.groups, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return one_line(f"no run in {self.runs_dir / self.group} yet{hint}")


def group_folders(runs_dir: Path) -> list[Path]:
    """The folders that may hold runs, by name."""
    with suppress(OSError):
        return sorted(path for path in runs_dir.iterdir() if path.is_dir() and not path.name.startswith("."))
    return []
