"""A snapshot in the terminal: a live table, or plain lines of what changed where there is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from tipx.display.console import Console, console
from tipx.display.fit import FittedTable
from tipx.watch.state import STATES, Alert, RunRow, State, WatchSnapshot
from tipx.watch.words import COLUMNS, clock_text, summary_text

COLOURS: dict[State, str] = {
    "running": "cyan",
    "stalled": "bold yellow",
    "failed": "red",
    "damaged": "red",
    "stopped": "yellow",
    "waiting": "dim",
    "finished": "green",
}
SPEAK_EVERY_S = 60.0
"""Without a terminal the sums are printed so often; changes are printed at once."""

LEAST = ("tokens", "kept", "loss", "steps/min", "left")
"""Columns that a narrow terminal does without, from the first."""

Show = Callable[[WatchSnapshot], None]


def render_snapshot(snapshot: WatchSnapshot, room: int | None = None) -> RenderableType:
    """Table, sums and alerts; with `room`, at most so many runs, those that matter now."""
    shown = list(snapshot.rows)
    if room is not None and len(shown) > room:
        shown = sorted(shown, key=lambda row: STATES.index(row.state))[:room]
    hidden = len(snapshot.rows) - len(shown)
    more = f", {hidden} not shown" if hidden else ""
    groups = list(dict.fromkeys(row.group for row in shown))
    parts = [render_table([row for row in shown if row.group == group], group) for group in groups]
    return Group(*parts, Text(summary_text(snapshot) + more), *map(render_alert, snapshot.alerts))


def render_table(rows: list[RunRow], group: str) -> FittedTable:
    """The runs of a group; words that all labels share are said once, above."""
    labels = [row.label.split() for row in rows]
    shared = set.intersection(*map(set, labels)) if len(labels) > 1 else set()
    title = " ".join([group, *(word for word in labels[0] if word in shared)])
    table = FittedTable(title, least=LEAST)
    table.add_column("run")
    table.add_column("state", no_wrap=True)
    for heading in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row, label in zip(rows, labels, strict=True):
        name = " ".join(word for word in label if word not in shared) or row.label
        table.add_row(name, Text(row.state, COLOURS[row.state]), *(write(row) for write in COLUMNS.values()))
    return table


def render_alert(alert: Alert) -> Text:
    return Text.assemble(
        (f"{alert.kind}: ", "bold red"), (alert.run, "bold"), f": {alert.seen}\n  ", (f"-> {alert.advice}", "cyan")
    )


@contextmanager
def open_screen() -> Iterator[Show]:
    """What it gives shows a snapshot in the place of the one before, or prints what changed."""
    screen = console()
    if not screen.is_terminal:
        yield Lines(console(soft_wrap=True, highlight=False)).show
        return
    with Live(Text("reading the runs"), console=screen, auto_refresh=False, vertical_overflow="ellipsis") as live:

        def show(snapshot: WatchSnapshot) -> None:
            # Title, heading, rule and a note take 4 lines of each group, the sums 2; an alert takes about 3.
            groups = len({row.group for row in snapshot.rows})
            room = max(screen.height - 2 - 4 * groups - 3 * len(snapshot.alerts), 4)
            live.update(render_snapshot(snapshot, room), refresh=True)

        yield show


class Lines:
    """Prints a line for each run whose state changed and for each alert that is new, and the sums now and then."""

    def __init__(self, screen: Console) -> None:
        self.screen = screen
        self.states: dict[tuple[str, str], State] = {}
        self.alerts: set[tuple[str, str]] = set()
        self.spoke: tuple[float, str] = (0.0, "")

    def show(self, snapshot: WatchSnapshot) -> None:
        now = clock_text(snapshot.time, snapshot.time)
        for row in snapshot.rows:
            if self.states.get((row.group, row.run)) != row.state:
                numbers = "  ".join(f"{name} {write(row)}" for name, write in COLUMNS.items())
                self.screen.print(f"{now}  {row.state:<8}  {row.group}/{row.run}  {row.label}  {numbers}")
        self.states = {(row.group, row.run): row.state for row in snapshot.rows}
        for alert in snapshot.alerts:
            if (alert.kind, alert.run) not in self.alerts:
                self.screen.print(Text(f"{now}  "), render_alert(alert), sep="")
        self.alerts = {(alert.kind, alert.run) for alert in snapshot.alerts}
        summary = summary_text(snapshot)
        if summary != self.spoke[1] and (snapshot.time - self.spoke[0] >= SPEAK_EVERY_S or not self.spoke[1]):
            self.screen.print(f"{now}  {summary}")
            self.spoke = snapshot.time, summary
