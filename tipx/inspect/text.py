"""A rollout in the terminal: quadrants by colour, kept tokens underlined."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tipx.errors import ConfigError
from tipx.inspect.payload import graded
from tipx.inspect.quadrants import NAMES
from tipx.inspect.read import Step
from tipx.inspect.shown import visible

STYLES = {1: "white on #0072b2", 2: "white on #00795a", 3: "white on #b84f00", 4: "default", 0: "dim italic"}


def rollout_text(step: Step, number: int) -> Group:
    """The rollout of that number, from 1, with a legend; raises ConfigError if there is none."""
    if not 1 <= number <= len(step.rows):
        raise ConfigError(
            f"rollout={number}: step {step.snapshot.step} has {len(step.rows)} saved; give 1 to {len(step.rows)}"
        )
    row, part = step.rows[number - 1], step.snapshot.slice(number - 1)
    quadrants, weights = step.thresholds.quadrants(step.snapshot)[part], step.snapshot.weights_N[part]
    (grade,) = graded([row])
    title = f"{step.run.path.name}, step {step.snapshot.step}, rollout {number} of {len(step.rows)}"
    said = f"answer {row['answer']}: {grade.outcome.replace('_', ' ')}" if grade else "no answer to grade by"
    body = Text()
    for piece, quadrant, weight in zip(row["pieces"], quadrants.tolist(), weights.tolist(), strict=True):
        underline = " underline" if weight > 0 else ""
        # Rich would break a line inside the style; the mark of a line's end stays before it.
        body.append(visible(piece).replace("↵", "↵\n"), style=STYLES[quadrant] + underline)
    kept = int((weights > 0).sum())
    head = Text(f"{title}\n{said}; {kept} of {len(weights)} tokens kept\n", style="bold")
    prompt = Text(visible(row["prompt"]).replace("↵", "\n") + "\n", style="dim")
    return Group(head, prompt, body, Text(), legend(quadrants.tolist()))


def legend(quadrants: list[int]) -> Table:
    """What the colours mean, and how many tokens have each."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for q, name in NAMES.items():
        table.add_row(Text(f" Q{q} ", style=STYLES[q]), name, f"{quadrants.count(q)} tokens")
    table.add_row(Text("kept", style="underline"), "the rule trained on it", "")
    if quadrants.count(0):
        table.add_row(Text(" not sampled ", style=STYLES[0]), "what a tool said", f"{quadrants.count(0)} tokens")
    return table
