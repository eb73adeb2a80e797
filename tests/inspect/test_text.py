"""A rollout in the terminal, and text that could command one."""

from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.inspect.worlds import HOSTILE, PLAIN, make_run
from tipx.errors import ConfigError
from tipx.inspect.quadrants import Thresholds
from tipx.inspect.shown import visible
from tipx.inspect.text import STYLES, rollout_text
from tipx.runs.reader import SampledStep, StoredRun


def test_colours_underlines_and_greys(tmp_path: Path) -> None:
    step = StoredRun(make_run(tmp_path, tools=True)).sampled()
    tokens = shown(step, 2)
    one, part = step.snapshot, step.snapshot.slice(1)
    quadrants = Thresholds.of(one, 0.5, 0.5).quadrants(one)[part]
    styles = [STYLES[q] + " underline" * bool(w) for q, w in zip(quadrants, one.weights_N[part] > 0, strict=True)]
    assert tokens == list(zip(map(visible, step.rows[1]["pieces"]), styles, strict=True))
    assert {0, 1, 2, 3, 4} == set(quadrants)


def shown(step: SampledStep, number: int) -> list[tuple[str, str]]:
    """The text and style of every token in the terminal."""
    body = rollout_text(step, number).renderables[2]
    assert isinstance(body, Table)
    cells = [cell for cell in body.columns[-1].cells if isinstance(cell, Text)]
    return [(cell.plain[span.start : span.end].strip("\n"), str(span.style)) for cell in cells for span in cell.spans]


def lines(step: SampledStep, number: int) -> list[str]:
    console = Console(force_terminal=False, width=100)
    with console.capture() as capture:
        console.print(rollout_text(step, number))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_the_students_own_tokens_are_counted_and_others_apart(tmp_path: Path) -> None:
    step = StoredRun(make_run(tmp_path, tools=True, scores=[1.0, 0.4, 0.0, None])).sampled()
    kept = [int((step.snapshot.weights_N[step.snapshot.slice(b)] > 0).sum()) for b in range(4)]
    said = [lines(step, b + 1) for b in range(4)]
    more = "3 more said by tools and the template"
    assert said[0][1] == f"score 1; {kept[0]} of 9 tokens kept; {more}"
    assert said[1][1] == f"score 0.4; {kept[1]} of 27 tokens kept; {more}"
    assert said[2][1] == f"score 0, cut at the limit of turns; {kept[2]} of 4 tokens kept; {more}"
    assert said[3][1] == f"no answer or score to go by; {kept[3]} of 22 tokens kept; {more}"
    assert " ".join(said[0][-1].split()) == "not sampled not the student's: tools and template 3 tokens"


def test_each_turn_begins_on_a_new_line(tmp_path: Path) -> None:
    pieces = (" a", "b", "\n", " c", "d", " e")  # a tool says the third to the fifth
    step = StoredRun(make_run(tmp_path, pieces=pieces, lengths=(6, 6), tools=True)).sampled()
    body = lines(step, 1)[5:9]
    assert body == ["student       ab", "environment  ↵", "              cd", "student       e"]
    plain = StoredRun(make_run(tmp_path / "plain", lengths=(6,))).sampled()
    assert not any(line.startswith(("student", "environment")) for line in lines(plain, 1))


def test_nothing_commands_the_terminal(tmp_path: Path) -> None:
    step = StoredRun(make_run(tmp_path, pieces=HOSTILE + PLAIN, lengths=(40,))).sampled()
    said = "\n".join(lines(step, 1))
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
    step = StoredRun(make_run(tmp_path)).sampled(10)
    for number in (0, 5):
        with pytest.raises(ConfigError, match=r"step 10 has 4 saved; give 1 to 4"):
            rollout_text(step, number)
