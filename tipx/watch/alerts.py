"""What is wrong with a run, and what to do: one rule each, on what a run's files tell.

A rule on a number compares the medians of a run's first and last lines. So it needs no threshold for a model or a data
set: a run is compared with itself. Rules on numbers look at runs that are not finished.
"""

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tipx.watch.series import RECENT, RunSeries, Series
from tipx.watch.state import Alert, RunRow, one_line

LENGTH_FACTOR = 2.0
"""Mean lengths of one student move by a few tens of a per cent in training; twice or half is another kind of answer."""
TRUNCATED_RISE = 0.1
"""Added share of cut responses. A tenth of a step without an end is more than the spread between steps."""
ENTROPY_FACTOR = 0.1
"""What is left of the entropy. A good student comes near its teacher's entropy, which is no tenth of its own."""
STALL_FACTOR = 5.0
"""Times the longest line so far, which holds the longest evaluation."""
STALL_FLOOR_S = 60.0
"""No run is called stalled before, for a line does not count the writing of a checkpoint."""
DISK_FACTOR = 2.0
"""Times what the next checkpoints take: a new one is written before an old one is removed, and rollouts come on top."""
IDLE_S = 300.0
"""A sweep is idle when no file of it was written for so long; a launcher may take minutes to start a point."""
ENDING_S = 20.0
"""After a process let go of its run, its sweep may take so long to note why it ended."""
ASKED_TO_STOP = "stopped"
"""How the last words of a run begin that a signal asked to stop; a sweep notes them."""
UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class LockHolder:
    """The process that holds a run's lock; `stopped` is whether it was paused, as by SIGSTOP."""

    pid: int
    stopped: bool


@dataclass(frozen=True)
class WatchedFacts:
    """All that the rules may look at.

    `saved` is the step of the newest checkpoint, and `checkpoint_bytes` its size. `quiet_s` is how long ago the run
    wrote something, `released_s` how long ago its process let go of it. `error` and `log` are those of a sweep's point,
    `again` is the command that continues the run.
    """

    row: RunRow
    path: Path
    series: RunSeries = field(default_factory=RunSeries)
    tree: dict[str, Any] = field(default_factory=dict)
    damage: str | None = None
    saved: int | None = None
    checkpoint_bytes: int = 0
    sampled: bool = False
    quiet_s: float | None = None
    released_s: float = math.inf
    holder: LockHolder | None = None
    error: str | None = None
    log: Path | None = None
    again: str = "the same command"

    def value(self, key: str) -> Any:
        """The value at a dotted key of the configuration; None if there is none."""
        value: Any = self.tree
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def alert(self, kind: str, seen: str, advice: str) -> Alert:
        return Alert(kind, self.row.run, one_line(seen), one_line(advice))


def find_alerts(run: WatchedFacts) -> list[Alert]:
    """What all rules say of a run."""
    rules = ON_STATE if run.row.state in ("finished", "waiting", "damaged") else ON_STATE + ON_NUMBERS
    return [alert for rule in rules if (alert := rule(run)) is not None]


# --- rules on the state ----------------------------------------------------------------------------------------------


def find_damage(run: WatchedFacts) -> Alert | None:
    """A file of the run is not as tipx wrote it."""
    if run.damage is None:
        return None
    seen, _, advice = run.damage.rpartition("; ")
    return run.alert("damaged", seen, advice)


def find_failure(run: WatchedFacts) -> Alert | None:
    """A point of a sweep failed, and its note says why."""
    if run.row.state != "failed":
        return None
    log = "" if run.log is None else f"read {run.log}; then "
    return run.alert("failed", run.error or "no reason was noted", f"{log}`{run.again} --retry-failed` runs it again")


def find_death(run: WatchedFacts) -> Alert | None:
    """The process of a run ended without saving. One that is told to stop saves its last step, or says what it kept."""
    if run.row.state != "stopped" or run.saved == run.row.step or run.released_s < ENDING_S:
        return None
    if (run.error or "").startswith(ASKED_TO_STOP):
        return None
    step = f"at step {run.row.step}" if run.row.step else "before step 1"
    kept = "there is no checkpoint" if run.saved is None else f"the newest checkpoint is of step {run.saved}"
    reason = "" if run.error is None else f" ({run.error})"
    log = "" if run.log is None else f"; its output is in {run.log}"
    return run.alert(
        "process ended", f"its process ended {step} without saving{reason}; {kept}", f"`{run.again}` continues it{log}"
    )


def find_stall(run: WatchedFacts) -> Alert | None:
    """A process holds the lock, and writes nothing."""
    if run.row.state != "stalled" or run.quiet_s is None:
        return None
    seen = f"no line for {run.quiet_s:.0f} s; its longest step took {run.series.longest_s:.1f} s"
    if run.holder is None:
        return run.alert("stalled", seen, f"look for its process; if it hangs, end it, and `{run.again}` continues")
    pid = run.holder.pid
    if run.holder.stopped:
        return run.alert("stalled", f"{seen}; process {pid} is paused", f"`kill -CONT {pid}` lets it go on")
    return run.alert(
        "stalled",
        f"{seen}; process {pid} is alive",
        f"if it hangs, `kill {pid}` asks it to stop and `kill -9 {pid}` ends it; `{run.again}` continues",
    )


# --- rules on numbers ------------------------------------------------------------------------------------------------


def find_bad_loss(run: WatchedFacts) -> Alert | None:
    """Loss or gradient was not finite in one of the last steps."""
    counts, recent = run.series.bad_steps.values, run.series.loss.values[-RECENT:]
    before = counts[-RECENT - 1] if len(counts) > RECENT else 0.0
    skipped = counts[-1] - before if counts else 0.0
    bad = max(skipped, sum(not math.isfinite(loss) for loss in recent))
    if not bad > 0:
        return None
    limit = run.value("loop.max_bad_steps")
    ends = "" if limit is None else f"; the run ends above {limit} in all (loop.max_bad_steps)"
    precision = run.value("loop.precision")
    other = "" if precision in (None, "no") else f", or loop.precision=no (it is {precision})"
    return run.alert(
        "loss not finite",
        f"loss or gradient was not finite in {bad:.0f} of the last {len(recent)} steps{ends}",
        f"stop it, and train with {smaller_rate(run)}{other}",
    )


def find_growing_responses(run: WatchedFacts) -> Alert | None:
    """Responses became much longer than in the first steps."""
    medians = compare_ends(run.series.length)
    if medians is None or not medians[1] > LENGTH_FACTOR * medians[0] > 0:
        return None
    advice = f"{look_at_responses(run)}; if it repeats itself, stop it, and train with {smaller_rate(run)}"
    return run.alert("responses grow", describe_lengths(medians), advice)


def find_shrinking_responses(run: WatchedFacts) -> Alert | None:
    """Responses became much shorter than in the first steps."""
    medians = compare_ends(run.series.length)
    if medians is None or not medians[1] < medians[0] / LENGTH_FACTOR:
        return None
    advice = f"{look_at_responses(run)}; if it leaves out steps, stop it, and train with {smaller_rate(run)}"
    return run.alert("responses shrink", describe_lengths(medians), advice)


def find_truncation(run: WatchedFacts) -> Alert | None:
    """More responses than in the first steps are ended by a limit."""
    medians = compare_ends(run.series.truncated)
    if medians is None or not medians[1] - medians[0] >= TRUNCATED_RISE:
        return None
    limit = run.value("rollout.max_new_tokens")
    more = "larger limits" if type(limit) is not int else f"rollout.max_new_tokens={2 * limit} (it is {limit})"
    return run.alert(
        "truncation rises",
        f"a limit ended {medians[1]:.0%} of the responses in the last {RECENT} steps, {medians[0]:.0%} in the first",
        f"{look_at_responses(run)}; where answers are right but long, train with {more}",
    )


def find_entropy_collapse(run: WatchedFacts) -> Alert | None:
    """The student became sure of nearly all tokens."""
    medians = compare_ends(run.series.entropy)
    if medians is None or not medians[1] < ENTROPY_FACTOR * medians[0]:
        return None
    return run.alert(
        "entropy collapses",
        f"mean entropy {medians[1]:.3g} nats a token in the last {RECENT} monitored steps, {medians[0]:.3g} in the "
        "first",
        f"{look_at_responses(run)}; if all are alike or accuracy falls, stop it, and train with {smaller_rate(run)}",
    )


Rule = Callable[[WatchedFacts], Alert | None]
ON_STATE: tuple[Rule, ...] = (find_damage, find_failure, find_death, find_stall)
ON_NUMBERS: tuple[Rule, ...] = (
    find_bad_loss,
    find_growing_responses,
    find_shrinking_responses,
    find_truncation,
    find_entropy_collapse,
)


def compare_ends(series: Series) -> tuple[float, float] | None:
    """Medians of the first and the last values; None as long as these would be the same values."""
    if len(series) < 2 * RECENT:
        return None
    return median(series.values[:RECENT]), median(series.values[-RECENT:])


def describe_lengths(medians: tuple[float, float]) -> str:
    first, last = medians
    return (
        f"{last:.0f} tokens a response in the last {RECENT} steps, {first:.0f} in the first: {last / first:.1f} times"
    )


def smaller_rate(run: WatchedFacts) -> str:
    """Half the learning rate, as it is typed."""
    rate = run.value("optim.lr")
    if not isinstance(rate, (int, float)):
        return "a smaller optim.lr"
    return f"a smaller optim.lr, e.g. optim.lr={rate / 2:g} (it is {rate:g})"


def look_at_responses(run: WatchedFacts) -> str:
    """How to see what the student writes."""
    if not run.sampled:
        return "no step's responses are saved (loop.sample_every)"
    return f"`tipx inspect {shlex.quote(str(run.path))} --text` shows what it writes"


# --- rules on more than one run --------------------------------------------------------------------------------------


def is_stalled(quiet_s: float, longest_s: float) -> bool:
    """Whether a run that writes has written nothing for much longer than its own longest line took."""
    return quiet_s > max(STALL_FLOOR_S, STALL_FACTOR * longest_s)


def find_full_disk(runs_dir: Path, free: int, runs: list[WatchedFacts]) -> Alert | None:
    """The next checkpoints of the runs that train have no room. One that saved none yet takes what the largest does."""
    training = [run for run in runs if run.row.state in ("running", "stalled")]
    largest = max((run.checkpoint_bytes for run in runs), default=0)
    needed = sum(run.checkpoint_bytes or largest for run in training)
    if not free < DISK_FACTOR * needed:
        return None
    return Alert(
        "disk nearly full",
        one_line(str(runs_dir)),
        f"{bytes_text(free)} are free, and the next checkpoints of {len(training)} runs take {bytes_text(needed)}",
        "free space, or remove runs that are not needed: `tipx runs`, then `tipx runs rm RUN`",
    )


def find_idle_sweep(group: str, command: str, quiet_s: float, runs: list[WatchedFacts]) -> Alert | None:
    """Points of a sweep wait, and no process works on any of them."""
    left = sum(run.row.state in ("waiting", "stopped") for run in runs)
    if not left or quiet_s <= IDLE_S or any(run.row.state in ("running", "stalled") for run in runs):
        return None
    return Alert(
        "nothing runs",
        one_line(group),
        f"{left} of {len(runs)} points are not done, none runs, and nothing was written for {quiet_s / 60:.0f} min",
        one_line(f"`{command}` does what is left; or wait, if a scheduler will start them"),
    )


def bytes_text(count: float) -> str:
    """`3.1 GB`."""
    power = min(int(math.log(max(count, 1), 1000)), len(UNITS) - 1)
    return f"{count / 1000**power:.3g} {UNITS[power]}"
