"""The numbers of one metrics.jsonl over the steps, read on from where the last look ended."""

import stat
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import BinaryIO

from tipx.runs import metric_keys as keys
from tipx.runs.metrics_file import Row, parse_row
from tipx.runs.reader import accuracy

RECENT = 10
"""Lines at the start and at the end of a run that are compared: enough that one odd step moves no median."""
OTHER = tuple(phase for phase in keys.PHASES if phase not in keys.TRAINING)


@dataclass
class Series:
    """A number that was logged at some steps."""

    steps: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, step: int, value: float | None) -> None:
        """Append a value; None is no value."""
        if value is not None:
            self.steps.append(step)
            self.values.append(as_float(value))

    @property
    def last(self) -> float | None:
        return self.values[-1] if self.values else None

    def __len__(self) -> int:
        return len(self.values)


@dataclass
class RunSeries:
    """What is kept of a run's lines; seconds are those of the phases of a line, as the main process took them.

    `training` are the phases of a step, `other_s` is the sum of the rest after step 0: evaluations and saved samples.
    """

    lines: int = 0
    step: int | None = None
    loss: Series = field(default_factory=Series)
    bad_steps: Series = field(default_factory=Series)
    kept: Series = field(default_factory=Series)
    length: Series = field(default_factory=Series)
    truncated: Series = field(default_factory=Series)
    entropy: Series = field(default_factory=Series)
    accuracy: Series = field(default_factory=Series)
    training: Series = field(default_factory=Series)
    other_s: float = 0.0
    total_s: float = 0.0
    longest_s: float = 0.0

    def add(self, row: Row) -> None:
        """Take in the line after the last one."""
        step = row[keys.STEP]
        self.lines, self.step = self.lines + 1, step
        for series, key in (
            (self.loss, keys.LOSS),
            (self.bad_steps, keys.BAD_STEPS),
            (self.kept, keys.KEPT_FRAC),
            (self.length, keys.MEAN_LENGTH),
            (self.truncated, keys.TRUNCATED_FRAC),
            (self.entropy, keys.ENTROPY.of("all")),
        ):
            series.add(step, row.get(key))
        self.accuracy.add(step, accuracy(row))
        training_s, other_s = (
            sum(as_float(row.get(keys.TIME.of(phase)) or 0.0) for phase in phases) for phases in (keys.TRAINING, OTHER)
        )
        if step:
            self.training.add(step, training_s)
            self.other_s += other_s
        self.total_s += training_s + other_s
        self.longest_s = max(self.longest_s, training_s + other_s)

    @property
    def step_s(self) -> float | None:
        """Seconds a step takes: the recent steps' median, and each step's part of the evaluations; None before step 1.

        The median, for a process that was paused has one step that took as long.
        """
        if not self.training:
            return None
        return median(self.training.values[-RECENT:]) + self.other_s / len(self.training)


def as_float(value: float) -> float:
    """A number of a line; an integer beyond a float's range is infinity."""
    try:
        return float(value)
    except OverflowError:
        return float("inf")


class MetricsTail:
    """Reads a metrics.jsonl line by line, and each line once.

    A line counts when its end is there, for a process may be in the middle of writing it. A file that was replaced, or
    whose part that was read is not what it was, is read from its start. `problem` says what is wrong with the first
    line that is none; nothing after it is read.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.written: float | None = None
        self._begin()

    def _begin(self) -> None:
        self.series, self.problem = RunSeries(), None
        self.offset, self.last, self.seen = 0, b"", (0, 0, 0, 0)

    series: RunSeries
    problem: str | None

    def read(self) -> None:
        """Take in what was written since the last look; `written` is when that was, by the file's clock."""
        try:
            there = self.file.stat()
        except OSError:  # there is none yet, or not any more
            self.written = None
            self._begin()
            return
        seen = (there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns)
        if seen == self.seen:
            return
        if seen[:2] != self.seen[:2]:
            self._begin()
        self.written = there.st_mtime
        if not stat.S_ISREG(there.st_mode):
            self.problem = "it is no file"
            return
        try:
            with self.file.open("rb") as handle:
                if not self._is_continued(handle):
                    self._begin()
                    handle.seek(0)
                self._read_on(handle)
        except OSError as error:
            self.problem = f"it cannot be read ({error.strerror})"
        self.seen = seen

    def _is_continued(self, handle: BinaryIO) -> bool:
        """Whether the last line that was read is still where it was; leaves the handle behind it."""
        handle.seek(self.offset - len(self.last))
        return handle.read(len(self.last)) == self.last

    def _read_on(self, handle: BinaryIO) -> None:
        self.problem = None
        for line in handle:
            if not line.endswith(b"\n"):
                return
            try:
                row = parse_row(line[:-1], self.series.step)
            except ValueError as error:
                self.problem = f"line {self.series.lines + 1} {error}"
                return
            self.series.add(row)
            self.offset, self.last = self.offset + len(line), line
