"""Time of the distillation loss at hidden sizes of real models, ours beside TRL, Liger and losses over the top 64.

A head product is N x V x D multiplications, all else is N x V: at the 64 dimensions of `python -m bench` element-wise
passes are most of the time, at the 2,560 of Qwen3-4B products are. So every case runs at several D. Numbers are fp32,
and there is one thread.

All cases of one D run in this one process, one after another, and again so in every round. What counts is a case's
least CPU time over the rounds: a neighbour on the machine makes some runs slower, and none faster. A peer with tiles of
several sizes tries each in the first round and goes on with the fastest. Memory (growth of the peak resident set) and
head products are of one more run of each case, in a process of its own.

    python -m bench.widths [--hidden 64 1024 2560] [--tokens 1024] [--rounds 3] [--no-memory]
    python -m bench.widths --hidden 1024 --tokens 256 --rounds 1 --no-memory        about a minute
"""

import argparse
import gc
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench import cases, peers
from bench.cases import (
    ALL_TOKENS,
    FULL,
    LIGER,
    LIGER_SMALL,
    OURS,
    OURS_TOP,
    TEACHER_TOP,
    TRL,
    TRL_TILES,
    TRL_TOP,
    TRL_WIDE,
    VERL_TOP,
    inputs,
    listed,
)
from bench.report import Shown
from bench.run import CaseFailed, Cell, measure, warm
from tipx.vocab import Hidden

OVER_ALL_TOKENS = (ALL_TOKENS, FULL, TRL, TRL_TILES, TRL_WIDE, LIGER, LIGER_SMALL)
"""Those that compute the same: their loss and gradients must agree."""
PEERS = (TRL, TRL_TILES, TRL_WIDE, LIGER, LIGER_SMALL)
"""Of these, the packages that ours is compared with."""
TRIED = ((TRL_TILES, TRL_WIDE), (LIGER, LIGER_SMALL))
"""One peer with tiles of several sizes, each: the fastest of the first round goes on."""
TOP = (OURS_TOP, TRL_TOP, VERL_TOP, TEACHER_TOP)
SELECTED = (
    (OURS["both"], 0.5),
    (OURS["both"], 0.2),
    (OURS["both"], 0.1),
    (OURS["entropy"], 0.1),
    (OURS["random"], 0.1),
)
TOLERANCE = 1e-4
"""Relative, of the loss, and of the gradients as vectors."""
PRODUCTS = ("aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm")


class ProductCounter(TorchDispatchMode):
    """Adds up the multiplications of all matrix products, backward passes included, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.multiplications = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket._qualified_op_name in PRODUCTS:  # noqa: SLF001 - it has no public name
            left, right = [arg for arg in args if isinstance(arg, Tensor)][-2:]
            self.multiplications += left.numel() * right.shape[-1]
        return func(*args, **(kwargs or {}))


@dataclass
class Measured:
    """One row of the table: a case at a ratio, and its CPU seconds in each round that it took part in."""

    case: str
    ratio: float
    seconds: list[float] = field(default_factory=list)
    mib: float | None = None
    products: float | None = None

    @property
    def least(self) -> float:
        return min(self.seconds)


def rows_of(tokens: int) -> list[Measured]:
    """Every row, without the packages that are not installed."""
    names = [name for name in (*OVER_ALL_TOKENS, *TOP) if peers.installed(listed()[name].package or "torch")]
    selected = [Measured(name, ratio) for name, ratio in SELECTED if round(tokens * ratio)]
    rows = [Measured(name, 1) for name in names]
    return [rows[0], *selected, *rows[1:]]


def slower_tiles(rows: Sequence[Measured]) -> list[Measured]:
    """The rows of a peer's tile sizes that lost against its fastest."""
    losers = []
    for names in TRIED:
        tried = [row for row in rows if row.case in names]
        losers += sorted(tried, key=lambda row: row.least)[1:]
    return losers


@dataclass
class Outcome:
    """Loss and gradients of a case over all tokens."""

    loss: Tensor
    states_ND: Tensor
    weight_VD: Tensor

    def distance(self, other: "Outcome") -> float:
        """Largest relative difference of loss and gradients; infinite where a number is none."""
        pairs = [(getattr(self, name), getattr(other, name)) for name in ("loss", "states_ND", "weight_VD")]
        gaps = [float((a - b).norm() / b.norm()) for a, b in pairs]
        return math.inf if any(math.isnan(gap) for gap in gaps) else max(gaps)


def run_case(row: Measured, student: Hidden, teacher: Hidden) -> Outcome:
    """Run a row once and note its CPU seconds."""
    leaves = student.states_ND, student.head.weight_VD
    for leaf in leaves:
        leaf.grad = None
    gc.collect()
    began = time.process_time()
    loss = listed()[row.case].step(student, teacher, max(1, round(len(student) * row.ratio)))
    row.seconds.append(time.process_time() - began)
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    return Outcome(loss, *gradients)


def run_rounds(rows: list[Measured], cell: Cell, rounds: int, progress: Progress) -> dict[str, float]:
    """Every row once a round, interleaved; returns how far each case over all tokens is from plain autograd.

    Rows that the first round rules out are taken out of `rows`.
    """
    bar = progress.add_task("", total=rounds * len(rows))
    for row in rows:
        warm(listed()[row.case], Cell(row.case, cell.tokens, cell.vocab, cell.hidden, row.ratio))
    student, teacher = inputs(cell.tokens, cell.vocab, cell.hidden)
    off: dict[str, float] = {}
    reference: Outcome | None = None
    for at in range(rounds):
        for row in sorted(rows, key=lambda row: row.case != FULL):  # the reference comes first
            progress.update(bar, description=f"D {cell.hidden}, round {at + 1}: {row.case}, {row.ratio:g}")
            outcome = run_case(row, student, teacher)
            reference = reference or outcome
            if row.case in OVER_ALL_TOKENS and row.case not in off:
                off[row.case] = outcome.distance(reference)
            del outcome
            progress.advance(bar)
        if at == 0:
            for loser in slower_tiles(rows):
                rows.remove(loser)
            progress.update(bar, total=progress.tasks[bar].completed + (rounds - 1) * len(rows))
    return off


def measure_alone(row: Measured, cell: Cell) -> None:
    """Fill in a row's memory and head products, from a process of its own."""
    own = Cell(row.case, cell.tokens, cell.vocab, cell.hidden, row.ratio)
    command = [sys.executable, "-m", "bench.widths", "--alone", json.dumps(asdict(own))]
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    if done.returncode != 0:
        raise CaseFailed(f"{own}: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    row.mib, row.products = json.loads(done.stdout.strip().splitlines()[-1])


def print_alone(cell: Cell) -> None:
    """In that process: MiB, and products in units of (all tokens x vocabulary x hidden size).

    Products are counted in a run of their own, with plain torch: no kernel can be compiled while a counter watches.
    """
    result, counter = measure(cell), ProductCounter()
    student, teacher = inputs(cell.tokens, cell.vocab, cell.hidden)
    plain = replace(cases.default_engine(), compile=False)
    with patch.object(cases, "default_engine", lambda: plain), counter:
        listed()[cell.case].step(student, teacher, cell.kept)
    products = counter.multiplications / (cell.tokens * cell.vocab * cell.hidden)
    print(json.dumps([result.mib, products]))  # noqa: T201


def width_table(rows: Sequence[Measured], cell: Cell) -> Shown:
    """The rows of one D. The unit of time is the fastest peer over all tokens, or ours where no package is there."""
    theirs = [row for row in rows if row.case in PEERS] or [row for row in rows if row.case == ALL_TOKENS]
    unit = min(theirs, key=lambda row: row.least)
    title = f"D = {cell.hidden:,}, {cell.tokens:,} tokens, V = {cell.vocab:,}, fp32, one thread; time / {unit.case}"
    body = []
    for row in rows:
        cells = [f"{row.ratio:g}", f"{row.least / unit.least:.2f}", f"{row.least:.2f}"]
        cells.append("-" if row.products is None else f"{row.products:.2f}")
        cells.append("-" if row.mib is None else f"{row.mib:,.0f}")
        body.append([row.case, *cells])
    return Shown(title, ["implementation", "ratio", "time", "CPU s", "head products", "MiB"], body)


def agreement_line(off: dict[str, float]) -> str:
    """How far the cases over all tokens are from plain autograd on full logits."""
    far = [f"MISMATCH: {name} is off by {gap:.1e}" for name, gap in off.items() if not gap <= TOLERANCE]
    worst = max(off.values())
    return "; ".join(
        [f"Loss and gradients of {len(off)} cases over all tokens: worst relative difference {worst:.1e}", *far]
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.widths", description="Time of the loss at several widths.")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 1024, 2560])
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true", help="without memory and head products: half the time")
    parser.add_argument("--alone", metavar="CELL", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """The exit code: 1 where implementations disagree or a case fails."""
    args = parse_arguments()
    torch.set_num_threads(1)
    if args.alone:
        print_alone(Cell(**json.loads(args.alone)))
        return 0
    console, wrong = Console(width=110), False
    for hidden in args.hidden:
        cell, rows = Cell("", args.tokens, args.vocab, hidden, 1), rows_of(args.tokens)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            off = run_rounds(rows, cell, args.rounds, progress)
            gc.collect()
            for row in progress.track([] if args.no_memory else rows, description=f"D {hidden}, memory"):
                measure_alone(row, cell)
        console.print(width_table(rows, cell).rich())
        console.print(agreement_line(off), "\n")
        wrong = wrong or not max(off.values()) <= TOLERANCE
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
