"""The paper's numbers stand beside what is the same thing, and beside nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.report.by_hand import set_lines, set_result
from tipx.report import Table
from tipx.report.formats import grid, notes_of

Sweep = Callable[..., list[Path]]
Make = Callable[..., Table]
SOFT = ["selector=soft_or", "ratio=0.5"]
AS_PAPER: dict[str, Any] = {
    "grid": [["selector=full"], SOFT],
    "base": ["experiment=qwen3"],
    "typed": False,
    "benchmarks": ("math500",),
    "n": 16,
    "seeds": 1,
    "start": {"device": "H200"},
}


def beside(table: Table, metric: str = "mean") -> list[str]:
    """The paper's number of each row."""
    (i,) = (i for i, column in enumerate(table.columns) if column.metric.name == metric)
    return [line[i].paper for line in grid(table)]


def test_what_is_alike(sweep: Sweep, table: Make) -> None:
    # Tables 3 and 5, Qwen3-8B to 4B on MATH-500: every token 76.7 +- 0.7, half of them by Soft-OR 79.1 +- 0.8.
    sweep("table5_main", **AS_PAPER)
    made = table("table5_main")
    assert beside(made) == ["76.7 ± 0.7", "79.1 ± 0.8"]
    assert [note for note in notes_of(made) if "the paper's own (arXiv 2604.14084, tables 3, 5)" in note]


FACTS = {
    "temperature": {"temperature": 0.6},
    "top_p": {"top_p": 0.95},
    "length": {"max_new_tokens": 8191},
    "part": {"partial": True},
    "samples": {"n": 8},
}


@pytest.mark.parametrize("name", FACTS)
def test_what_is_evaluated_otherwise_be_it_one_seed(name: str, sweep: Sweep, table: Make) -> None:
    made = sweep("table5_main", **AS_PAPER | {"seeds": 2})
    set_result(made[3], **FACTS[name])
    assert beside(table("table5_main")) == ["76.7 ± 0.7", ""]


@pytest.mark.parametrize("more", [["optim.lr=1e-3"], ["loop.steps=3"], ["norm=v1"]])
def test_another_recipe(more: list[str], sweep: Sweep, table: Make) -> None:
    sweep("table5_main", **AS_PAPER | {"grid": [SOFT], "base": ["experiment=qwen3", *more]})
    assert beside(table("table5_main")) == [""]


def test_what_the_paper_does_not_report(sweep: Sweep, table: Make) -> None:
    sweep("table5_main", **AS_PAPER | {"grid": [["selector=random", "ratio=0.5"], ["selector=soft_or", "ratio=0.3"]]})
    assert beside(table("table5_main")) == ["", ""]


def test_a_table_that_was_not_asked_for(sweep: Sweep, table: Make, tmp_path: Path) -> None:
    sweep(**AS_PAPER)
    own = tmp_path / "mine.yaml"
    own.write_text("title: x\nrows: [selector, ratio]\ncolumns: [model]\npaper: [5]\n")
    assert beside(table(str(own), sweeps=("controls",))) == ["", "79.1 ± 0.8"]


@pytest.mark.parametrize(("device", "expected"), [("cuda", ["72", "38.1"]), ("cpu", ["", ""]), (None, ["", ""])])
def test_memory_is_that_of_a_device(device: str | None, expected: list[str], sweep: Sweep, table: Make) -> None:
    # Table 3: 72.0 GB for every token, 38.1 GB for half of them; the number of steps does not matter.
    rules = [["selector=full"], ["selector=entropy_sampling", "ratio=0.5"]]
    made = sweep("memory", **AS_PAPER | {"grid": rules, "typed": True, "start": {"device": device}})
    for run in made:
        set_lines(run, [{}, *[{"memory/train_mib": 30_000.0}] * 3])
    assert beside(table("memory"), "memory") == expected


@pytest.mark.parametrize(("headline", "expected"), [("hard_constraint_rate", "11.7"), ("case_score", ""), (None, "")])
def test_agents_are_measured_by_hard_constraints(
    headline: str | None, expected: str, sweep: Sweep, table: Make
) -> None:
    # At which temperature they acted, the paper does not say.
    facts = {"agent": {"turns": 1}, "headline": headline, "temperature": None}
    base = ["experiment=qwen3_agent_14b"]
    more = {"base": base, "benchmarks": ("deepplanning_travel",), "grid": [["selector=full"]], "result": facts}
    sweep("table7_deepplanning", **AS_PAPER | more)
    assert beside(table("table7_deepplanning")) == [expected]
