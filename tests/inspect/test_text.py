"""A rollout in the terminal, and text that could command one."""

from pathlib import Path

import pytest
from rich.console import Console

from tests.inspect.worlds import HOSTILE, PLAIN, make_run
from tipx.errors import ConfigError
from tipx.inspect.quadrants import Thresholds
from tipx.inspect.read import open_step
from tipx.inspect.shown import visible
from tipx.inspect.text import STYLES, rollout_text


def test_colours_underlines_and_greys(tmp_path: Path) -> None:
    step = open_step(make_run(tmp_path, tools=True), None)
    body = rollout_text(step, 2).renderables[2]
    one, part = step.snapshot, step.snapshot.slice(1)
    quadrants = Thresholds.of(one, 0.5, 0.5).quadrants(one)[part]
    styles = [STYLES[q] + " underline" * bool(w) for q, w in zip(quadrants, one.weights_N[part] > 0, strict=True)]
    assert [str(span.style) for span in body.spans] == styles
    assert {0, 1, 2, 3, 4} == set(quadrants)


def test_nothing_commands_the_terminal(tmp_path: Path) -> None:
    step = open_step(make_run(tmp_path, pieces=HOSTILE + PLAIN, lengths=(40,)), None)
    console = Console(force_terminal=False, width=100)
    with console.capture() as capture:
        console.print(rollout_text(step, 1))
    said = capture.get()
    assert not set(said) & {chr(code) for code in (*range(10), *range(11, 32), 127, 0x202E, 0x200B)}
    assert "<script>window.hacked" in said
    assert "␀␛[31m␇" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [(" a", " a"), ("", "∅"), ("\n", "↵"), ("\x9b1m", "⟨U+009B⟩1m"), ("é\ufffd", "é\ufffd"), ("\ud800", "⟨U+D800⟩")],
)
def test_visible(text: str, said: str) -> None:
    assert visible(text) == said


def test_a_rollout_that_is_not_there(tmp_path: Path) -> None:
    step = open_step(make_run(tmp_path), 10)
    for number in (0, 5):
        with pytest.raises(ConfigError, match=r"step 10 has 4 saved; give 1 to 4"):
            rollout_text(step, number)
