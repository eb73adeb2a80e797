"""The paper's own number beside ours, where a cell is the same thing."""

from tipx.report.keys import value
from tipx.report.long import Measured
from tipx.report.paper_numbers import Fact, fact
from tipx.report.table import Cell, Column, Table

OURS = frozenset(
    {
        "model",
        "experiment",
        "selector",
        "ratio",
        "seed",
        "group",
        "name",
        "runs_dir",
        "logger",
        "hardware",
        "vocab",
        "rollout",
        "eval",
        "data.path",
        "model.teacher.path",
        "model.student.path",
        "heldout",
        "loop.save_every",
        "loop.eval_every",
        "loop.sample_every",
        "loop.processes",
        "loop.eval_last",
    }
)
"""What a command may set and still be the paper's: another learning rate, say, is another experiment."""
LONGEST = 8192
HARD = "hard_constraint_rate"
"""What the paper measures agents by."""


def add_paper(table: Table) -> None:
    """Set `paper` where model pair, rule, ratio, benchmark, metric and the rest of the recipe are the paper's."""
    for (_, column), cell in table.cells.items():
        found = corresponding(cell, column)
        if found is not None and found.table in table.report.paper:
            cell.paper = found
    if any(cell.paper for cell in table.cells.values()):
        tables = ", ".join(map(str, table.report.paper))
        table.notes.append(
            f"in square brackets: the paper's own (arXiv 2604.14084, tables {tables}). Its teachers of qwen3 and "
            "qwen2_5 are unreleased, and public ones stand in"
        )


def corresponding(cell: Cell, column: Column) -> Fact | None:
    """The paper's cell, if every run here is of its kind."""
    if (
        not cell.measured
        or not cell.measured[0].run.choices
        or not all(same_recipe(one) and same_measure(one) for one in cell.measured)
    ):
        return None
    run = cell.measured[0].run
    ratio = value(run, "ratio")
    if ratio is None and run.choices.get("selector") != "full":
        return None
    name = column.metric.headed([one.facts for one in cell.measured]).split(",")[0]
    metric = "memory" if column.metric.name == "memory" else name
    benchmark = cell.measured[0].benchmark
    return fact(run.choices["model"], run.choices["selector"], float(ratio or 1), benchmark, metric)


def same_recipe(one: Measured) -> bool:
    """Whether the command set nothing but what the paper's rows differ in."""
    ours = OURS | ({"loop.steps"} if one.metric.name == "memory" else set())
    typed = [key for key in one.run.typed if key not in ours and key.split(".")[0] not in ("hardware", "logger")]
    return {"model", "selector"} <= one.run.choices.keys() and not typed


def same_measure(one: Measured) -> bool:
    """Temperature 1, whole benchmark, full length; an agent's score; memory on a device that has its own."""
    if one.benchmark is None:
        return one.run.start.get("device") not in (None, "cpu")
    facts = one.facts
    whole = not facts.get("partial") and facts.get("max_new_tokens", 0) >= LONGEST
    if "agent" in facts:  # at what temperature, the paper does not say
        return whole and facts.get("headline") == HARD
    return whole and facts.get("temperature") == 1 and facts.get("top_p") == 1
