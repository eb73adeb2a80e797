"""The table and the lines: what is on them, and that nothing of somebody else's acts on the terminal."""

import io
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.hostile import EVERY
from tipx.display.console import COMMANDS, Console, Stream
from tipx.watch.screen import Lines, render_snapshot
from tipx.watch.state import Alert, RunRow, State, WatchSnapshot, distinguish_labels, estimate_end, thin_curve
from tipx.watch.words import span_text, summary_text

ROW = RunRow("g", "tiny-full-00000000", "seed=0", "running", 12, 40, 30.0, 56.0, 24.0, 0.25, 1.5, 0.2, 40.4)
ALERT = Alert("stalled", "tiny-full-00000000", "no line for 95 s", "`kill -CONT 12` lets it go on")
SEEN = WatchSnapshot(1_800_000_000.0, "runs/g", (ROW,), (ALERT,), ends=1_800_000_056.0)


def a_console(width: int = 120, *, color: bool = False) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    system = "truecolor" if color else None
    return Console(file=Stream(out), width=width, markup=False, color_system=system, force_terminal=color), out  # type: ignore[arg-type]


def table(seen: WatchSnapshot, room: int | None = None, width: int = 120) -> str:
    screen, out = a_console(width)
    screen.print(render_snapshot(seen, room))
    return out.getvalue()


def test_a_row_the_sums_and_an_alert() -> None:
    lines = [line.split() for line in table(SEEN).splitlines()]
    assert lines[1] == ["run", "state", "step", "steps/min", "left", "accuracy", "loss", "kept", "tokens"]
    assert lines[3] == ["seed=0", "running", "12/40", "30", "56", "s", "0.250", "1.5", "20%", "40"]
    assert " ".join(lines[4]).startswith("1 running, machine time 24 s, about 56 s left, until ")
    assert lines[5] == ["stalled:", "tiny-full-00000000:", "no", "line", "for", "95", "s"]
    assert lines[6] == ["->", "`kill", "-CONT", "12`", "lets", "it", "go", "on"]


def test_what_is_not_known_yet() -> None:
    seen = replace(SEEN, rows=(RunRow("g", "a", "a", "waiting"),), alerts=(), ends=None)
    assert table(seen).splitlines()[3].split() == ["a", "waiting", *["-"] * 7]
    odd = replace(ROW, loss=float("nan"), seconds_left=float("inf"), seconds=float("nan"), steps=None)
    assert "12/?" in table(replace(SEEN, rows=(odd,)))
    assert " nan " in table(replace(SEEN, rows=(odd,)))
    assert table(WatchSnapshot(0.0, "runs", (), (), note="no run yet")) == "no run yet\n"


def test_what_matters_has_the_room() -> None:
    states: Sequence[State] = ("finished", "waiting", "failed", "running", "stalled")
    seen = replace(SEEN, rows=tuple(replace(ROW, label=state, state=state) for state in states))
    shown = table(seen, room=3)
    assert [line.split()[0] for line in shown.splitlines()[3:6]] == ["running", "stalled", "failed"]
    assert "2 not shown" in shown
    assert "not shown" not in table(seen, room=5)
    assert "g/finished" not in shown
    two = table(replace(seen, rows=(*seen.rows, replace(ROW, group="h", label="x")))).splitlines()
    assert [line for line in two if line in ("g", "h")] == ["g", "h"]  # a table for each group


def test_lines_of_what_changed() -> None:
    screen, out = a_console(400)
    lines = Lines(screen)
    lines.show(SEEN)
    first = out.getvalue().splitlines()
    assert "  running   g/tiny-full-00000000  seed=0  step 12/40" in first[0]
    assert first[1].endswith("stalled: tiny-full-00000000: no line for 95 s")
    assert len(first) == 4
    lines.show(replace(SEEN, time=SEEN.time + 2, rows=(replace(ROW, step=13, seconds=25.0),)))
    assert out.getvalue().splitlines() == first
    ended = replace(SEEN, time=SEEN.time + 60, rows=(replace(ROW, state="finished"),), alerts=())
    lines.show(ended)
    more = out.getvalue().splitlines()[len(first) :]
    assert ["finished  g/" in more[0], "1 finished" in more[1], len(more)] == [True, True, 2]
    lines.show(replace(SEEN, time=SEEN.time + 62, rows=ended.rows))  # the alert is there again
    assert out.getvalue().splitlines()[-2].endswith("no line for 95 s")


@pytest.mark.parametrize("text", EVERY)
def test_hostile_texts(text: str) -> None:
    row, alert = replace(ROW, group=text, run=text, label=text), Alert("failed", text, text, text)
    seen = replace(SEEN, title=text, rows=(row, ROW), alerts=(alert,))
    screen, out = a_console(200)
    Lines(screen).show(seen)
    for shown in (table(seen), out.getvalue()):
        assert not COMMANDS.search(shown)
    plain = table(replace(SEEN, alerts=(replace(ALERT, run="[red]"),)))
    assert "[red]" in plain


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (7200, "2.0 h"), (200_000, "2.3 d"), (None, "-")],
)
def test_spans(seconds: float | None, text: str) -> None:
    assert span_text(seconds) == text


def test_an_end_beyond_the_calendar() -> None:
    assert summary_text(replace(SEEN, ends=1e30)).endswith("until -")


def test_labels_without_what_all_share() -> None:
    assert distinguish_labels(["a=1 b=2", "a=1 b=3", "a=1"]) == ["b=2", "b=3", "(the base)"]
    assert distinguish_labels(["a=1"]) == ["a=1"]
    assert distinguish_labels([]) == []


def test_the_estimate() -> None:
    def end(*rows: tuple[State, float, float | None]) -> float | None:
        return estimate_end(0.0, [replace(ROW, state=s, seconds=t, seconds_left=left) for s, t, left in rows])

    # Two at once: 100 s and 40 s are left, and one that waits takes the 60 s that the finished one took.
    two: list[tuple[State, float, float | None]] = [("running", 10, 100.0), ("running", 10, 40.0)]
    assert end(("finished", 60, None), *two, ("waiting", 0, None)) == 100.0
    assert end(("finished", 60, None), *two, ("waiting", 0, None), ("stopped", 20, 9.0), ("stopped", 90, 9.0)) == 120.0
    assert end(("finished", 60, None), *two) == 100.0
    assert end(("running", 1, None)) is None
    assert end(("finished", 60, None), ("waiting", 0, None)) is None
    assert end(("running", 1, float("inf"))) is None


def test_curves_keep_their_ends() -> None:
    steps, values = list(range(1, 1001)), [float(step) for step in range(1, 1001)]
    curve = thin_curve(steps, values, 60)
    assert (len(curve), curve[0], curve[-1]) == (60, (1, 1.0), (1000, 1000.0))
    assert thin_curve([1, 2, 3], [1.0, float("nan"), 3.0], 60) == ((1, 1.0), (3, 3.0))
    assert thin_curve([], [], 60) == ()
    assert thin_curve([1], [2.0], 60) == ((1, 2.0),)
