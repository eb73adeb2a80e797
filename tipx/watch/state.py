"""What a snapshot holds: a row a run, what to do about what is wrong, and sums over all rows."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tipx.display.console import clean_text

State = Literal["running", "stalled", "failed", "damaged", "stopped", "waiting", "finished"]
STATES: tuple[State, ...] = ("running", "stalled", "failed", "damaged", "stopped", "waiting", "finished")
"""In the order in which they are shown where not all runs have room."""
TEXT_LIMIT = 300
"""Characters of a text of somebody else, which is to be one line of a table."""

Curve = tuple[tuple[int, float], ...]
"""(step, value) in order of steps."""


@dataclass(frozen=True)
class RunRow:
    """How a run stands. `label` is what tells it from the others of its sweep.

    `steps_per_minute` and `seconds_left` are by its own recent steps; `seconds` is the time of all its phases so far.
    None is what is not known yet.
    """

    group: str
    run: str
    label: str
    state: State
    step: int = 0
    steps: int | None = None
    steps_per_minute: float | None = None
    seconds_left: float | None = None
    seconds: float = 0.0
    accuracy: float | None = None
    loss: float | None = None
    kept_frac: float | None = None
    mean_length: float | None = None
    loss_curve: Curve = ()
    accuracy_curve: Curve = ()


@dataclass(frozen=True)
class Alert:
    """What is wrong with a run (or a folder), the numbers that show it, and what to do next."""

    kind: str
    run: str
    seen: str
    advice: str


@dataclass(frozen=True)
class WatchSnapshot:
    """All that is shown at one moment; `time` is in seconds since 1970, `ends` when the last run may be finished.

    `note` says why there is no row.
    """

    time: float
    title: str
    rows: tuple[RunRow, ...]
    alerts: tuple[Alert, ...]
    ends: float | None = None
    note: str = ""

    @property
    def counts(self) -> dict[State, int]:
        """Runs in each state that occurs."""
        counter = Counter(row.state for row in self.rows)
        return {state: counter[state] for state in STATES if counter[state]}

    @property
    def seconds(self) -> float:
        """Time of all phases of all runs."""
        return sum(row.seconds for row in self.rows if math.isfinite(row.seconds))

    def as_json(self) -> dict[str, Any]:
        """For a program: a number that is not finite is null."""
        sums = {"counts": self.counts, "seconds": self.seconds}
        return {name: json_value(value) for name, value in (asdict(self) | sums).items()}


def json_value(value: Any) -> Any:
    """`value` with None for what is no JSON number."""
    if isinstance(value, dict):
        return {name: json_value(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def one_line(text: str) -> str:
    """A text of somebody else on one line, without control characters, and not without end."""
    line = " ".join(clean_text(text).split())
    return line if len(line) <= TEXT_LIMIT else f"{line[: TEXT_LIMIT - 3]}..."


def distinguish_labels(labels: Sequence[str]) -> list[str]:
    """Each label without the words that all have."""
    words = [label.split() for label in labels]
    shared = set.intersection(*map(set, words)) if len(words) > 1 else set[str]()
    return [" ".join(word for word in each if word not in shared) or "(the base)" for each in words]


def estimate_end(now: float, rows: Iterable[RunRow]) -> float | None:
    """When the last run is finished, if as many run at once as now; None where nothing runs or a time is unknown.

    A run that waits takes as long as finished runs did, or, where there is none, as long as running ones will. So the
    seconds to go are max(longest that runs, sum of all that is left / number that run).
    """
    rows = [row for row in rows if row.state in ("running", "waiting", "stopped", "finished")]
    running = [row.seconds_left for row in rows if row.state == "running"]
    whole = [row.seconds for row in rows if row.state == "finished"]
    whole = whole or [row.seconds + row.seconds_left for row in rows if row.seconds_left is not None]
    if not running or None in running or not whole:
        return None
    left = [seconds for seconds in running if seconds is not None]
    later = [max(sum(whole) / len(whole) - row.seconds, 0.0) for row in rows if row.state in ("waiting", "stopped")]
    seconds = max(*left, (sum(left) + sum(later)) / len(running))
    return now + seconds if math.isfinite(seconds) else None


def thin_curve(steps: Sequence[int], values: Sequence[float], points: int) -> Curve:
    """At most so many (step, value), evenly taken, the first and the last among them; values that are not finite go."""
    count = min(points, len(values))
    chosen = [round(i * (len(values) - 1) / max(count - 1, 1)) for i in range(count)]
    return tuple((steps[i], values[i]) for i in chosen if math.isfinite(values[i]))
