"""A sweep to look at: its points as a table, live while it runs, plain lines where there is no terminal."""

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.text import Text

from tipx.display.console import console
from tipx.display.fit import FittedTable
from tipx.runs.sweep_folder import Point, State, Status, SweepFolder

LOOK_EVERY_S = 1.0
MARKS: dict[Status, str] = {"done": "green", "running": "cyan", "failed": "red", "stopped": "yellow", "waiting": "dim"}
ORDER: tuple[Status, ...] = ("running", "failed", "stopped", "done", "waiting")


def points_table(states: Sequence[State], title: str, *, rows: int | None = None, hashes: bool = False) -> FittedTable:
    """One row a point, in the order of the plan; with `rows`, what matters now comes first and the rest is counted."""
    names = sorted({name for state in states for name in state.accuracy})
    best = {name: max(s.accuracy[name] for s in states if name in s.accuracy) for name in names}
    shared = shared_overrides(states)
    table = FittedTable(title, least=("minutes", "step", "run"), more="--dry-run --json")
    table.add_column("point")
    if hashes:
        table.add_column("run", no_wrap=True)
    table.add_column("status")
    for heading in ("step", "minutes", *names):
        table.add_column(heading, justify="right", no_wrap=True)
    shown = list(states) if rows is None else sorted(states, key=lambda s: ORDER.index(s.status))[:rows]
    for state in shown:
        label = " ".join(word for word in state.point.label.split() if word not in shared) or "(the base)"
        cells: list[str | Text] = [label, *([state.point.run] if hashes else [])]
        cells += [Text(state.status, MARKS[state.status]), str(state.step or "-"), minutes_text(state.seconds)]
        for name in names:
            value = state.accuracy.get(name)
            text = "-" if value is None else f"{value:.3f}"
            cells.append(Text(text, "bold" if value is not None and value == best[name] else ""))
        table.add_row(*cells)
    table.caption = progress_caption(states, len(states) - len(shown))
    return table


def shared_overrides(states: Sequence[State]) -> set[str]:
    """Overrides that every point has, which tell nothing apart."""
    words = [set(state.point.label.split()) for state in states]
    return set.intersection(*words) if len(words) > 1 else set()


def progress_caption(states: Sequence[State], hidden: int) -> str:
    """How many points stand how, and how long the rest may take."""
    counts = {status: sum(s.status == status for s in states) for status in ORDER}
    parts = [f"{count} {status}" for status, count in counts.items() if count]
    if hidden:
        parts.append(f"{hidden} not shown")
    if (left := estimate_seconds(states)) is not None:
        parts.append(f"about {minutes_text(left)} min left, one after another")
    return ", ".join(parts)


def estimate_seconds(states: Sequence[State]) -> float | None:
    """Seconds that what is missing takes by what finished points took; None without both."""
    done = [state.seconds for state in states if state.status == "done"]
    rest = [state.seconds for state in states if state.status in ("waiting", "stopped", "running")]
    if not done or not rest:
        return None
    each = sum(done) / len(done)
    return sum(max(each - seconds, 0.0) for seconds in rest)


def minutes_text(seconds: float) -> str:
    return f"{seconds / 60:.1f}" if seconds else "-"


class Watch:
    """While it is open, shows on stderr how the points stand."""

    def __init__(self, name: str, board: SweepFolder, points: Sequence[Point]) -> None:
        self.name, self.board, self.points = name, board, points
        self.console = console(stderr=True)
        self.done: dict[str, State] = {}
        self.seen: dict[str, Status] = {}
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        if self.live is not None:
            self.live.start()
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.closing.set()
        self.thread.join()
        if self.live is not None:
            self.live.stop()

    def say(self, message: str) -> None:
        self.console.print(message, highlight=False, soft_wrap=True)

    def _run(self) -> None:
        while not self.closing.wait(LOOK_EVERY_S):
            self._show()
        self._show()

    def _show(self) -> None:
        states = [self._state(point) for point in self.points]
        if self.live is not None:
            rows = max(self.console.height - 6, 4)
            self.live.update(points_table(states, f"sweep {self.name}", rows=rows), refresh=True)
            return
        for state in states:
            if state.status != self.seen.get(state.point.run, "waiting"):
                self.say(f"{state.status:>8}  {state.point.label}  {result_line(state)}")
            self.seen[state.point.run] = state.status

    def _state(self, point: Point) -> State:
        """A finished point is read once."""
        if point.run not in self.done:
            state = self.board.state(point)
            if state.status != "done":
                return state
            self.done[point.run] = state
        return self.done[point.run]


def result_line(state: State) -> str:
    """What is known of a point in one line."""
    return state.error or "  ".join(f"{name} {value:.3f}" for name, value in state.accuracy.items())
