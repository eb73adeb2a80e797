"""A rollout in the terminal: quadrants by colour, kept tokens underlined."""

from collections.abc import Sequence
from itertools import pairwise

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tipx.errors import ConfigError
from tipx.grading.grade import Grade
from tipx.inspect.payload import graded
from tipx.inspect.quadrants import NAMES, Thresholds
from tipx.inspect.shown import visible
from tipx.runs.metrics_file import Row
from tipx.runs.reader import ENDS, SampledStep

STYLES = {1: "white on #0072b2", 2: "white on #00795a", 3: "white on #b84f00", 4: "default", 0: "dim italic"}


def rollout_text(step: SampledStep, number: int) -> Group:
    """The rollout of that number, from 1, with a legend; raises ConfigError if there is none."""
    if not 1 <= number <= len(step.rows):
        raise ConfigError(
            f"rollout={number}: step {step.snapshot.step} has {len(step.rows)} saved; give 1 to {len(step.rows)}"
        )
    row, part = step.rows[number - 1], step.snapshot.slice(number - 1)
    quadrants, weights = Thresholds.of_step(step).quadrants(step.snapshot)[part], step.snapshot.weights_N[part]
    (grade,) = graded([row])
    title = f"{step.run.name}, step {step.snapshot.step}, rollout {number} of {len(step.rows)}"
    own_N = step.snapshot.valid_N[part]
    own, others = int(own_N.sum()), int((~own_N).sum())
    more = f"; {others} more said by tools and the template" if others else ""
    kept = f"{int((weights > 0).sum())} of {own} tokens kept{more}"
    head = Text(f"{title}\n{how_it_went(row, grade)}; {kept}\n", style="bold")
    prompt = Text(visible(row["prompt"]).replace("↵", "\n") + "\n", style="dim")
    body = by_turn(coloured(row["pieces"], quadrants.tolist(), weights.tolist()), own_N.tolist())
    return Group(head, prompt, body, Text(), legend(quadrants.tolist()))


def coloured(pieces: Sequence[str], quadrants: Sequence[int], weights: Sequence[float]) -> list[Text]:
    """Each token in its quadrant's colour."""
    styles = [STYLES[q] + " underline" * (weight > 0) for q, weight in zip(quadrants, weights, strict=True)]
    # Rich would break a line inside the style; the mark of a line's end stays before it.
    return [Text(visible(p).replace("↵", "↵\n"), style) for p, style in zip(pieces, styles, strict=True)]


def by_turn(tokens: Sequence[Text], own: Sequence[bool]) -> Table:
    """The student's turns and what stands between them, each from a new line; without tools there is one, unnamed."""
    changes = [k for k in range(1, len(own)) if own[k] != own[k - 1]]
    table = Table.grid(padding=(0, 2, 0, 0))
    for start, end in pairwise([0, *changes, len(own)]):
        words = Text().join(tokens[start:end])
        if words.plain.endswith("\n"):
            words.right_crop()
        name = Text("student", "bold") if own[start:end] and own[start] else Text("environment", "dim")
        table.add_row(*([name] if changes else []), words)
    return table


def how_it_went(row: Row, grade: Grade | None) -> str:
    """An answer's grade or an agent's score, and the limit that ended it."""
    if grade:
        said = f"answer {visible(str(row['answer']))}: {grade.outcome.replace('_', ' ')}"
    elif (score := row.get("score")) is not None:
        said = f"score {score:.4g}"
    else:
        said = "no answer or score to go by"
    return f"{said}, {ENDS[row['stop']]}" if ENDS[row["stop"]] else said


def legend(quadrants: list[int]) -> Table:
    """What the colours mean, and how many tokens have each."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for q, name in NAMES.items():
        table.add_row(Text(f" Q{q} ", style=STYLES[q]), name, f"{quadrants.count(q)} tokens")
    table.add_row(Text("kept", style="underline"), "the rule trained on it", "")
    if quadrants.count(0):
        table.add_row(
            Text(" not sampled ", style=STYLES[0]),
            "not the student's: tools and template",
            f"{quadrants.count(0)} tokens",
        )
    return table
