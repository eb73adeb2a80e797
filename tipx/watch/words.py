"""Numbers and sums of a snapshot as people read them, in the terminal and on the page."""

import math
import time
from collections.abc import Callable

from tipx.runs import metric_keys as keys
from tipx.watch.state import RunRow, WatchSnapshot

NOTHING = "-"


def step_text(row: RunRow) -> str:
    """`12/150`."""
    return NOTHING if row.steps is None and not row.step else f"{row.step}/{'?' if row.steps is None else row.steps}"


def number_text(value: float | None, form: str) -> str:
    """A number in a format of Python's; one that is not finite as nan or inf."""
    return NOTHING if value is None else format(value, form)


def span_text(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3.5 h`, `2.1 d`."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


def clock_text(seconds: float, now: float) -> str:
    """The local time of day, and the date if that is not today's."""
    try:
        moment, today = time.localtime(seconds), time.localtime(now)
    except (OverflowError, ValueError, OSError):  # further away than a calendar goes
        return NOTHING
    return time.strftime("%H:%M" if moment[:3] == today[:3] else "%Y-%m-%d %H:%M", moment)


def summary_text(snapshot: WatchSnapshot) -> str:
    """Counts, time of all phases of all runs, and when the last may be finished."""
    parts = [f"{count} {state}" for state, count in snapshot.counts.items()]
    parts.append(f"machine time {span_text(snapshot.seconds)}")
    if snapshot.ends is not None:
        parts.append(
            f"about {span_text(snapshot.ends - snapshot.time)} left, until {clock_text(snapshot.ends, snapshot.time)}"
        )
    return ", ".join(parts) if snapshot.rows else snapshot.note


COLUMNS: dict[str, Callable[[RunRow], str]] = {
    keys.STEP: step_text,
    "steps/min": lambda row: number_text(row.steps_per_minute, ".3g"),
    "left": lambda row: span_text(row.seconds_left),
    "accuracy": lambda row: number_text(row.accuracy, ".3f"),
    "loss": lambda row: number_text(row.loss, ".4g"),
    "kept": lambda row: number_text(row.kept_frac, ".0%"),
    "tokens": lambda row: number_text(row.mean_length, ".0f"),
}
"""Heading of each number of a run, and how it is written; `tokens` is the mean length of a response."""
