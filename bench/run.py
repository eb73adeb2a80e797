"""One cell of the grid, measured in a process of its own, because only a fresh one has a meaningful peak.

    python -m bench.run '{"case": "full logits", "tokens": 512, "vocab": 32768, "hidden": 64, "ratio": 0.5}'

Memory is the growth of the peak resident set (VmHWM) over the resident set just before; the inputs are there by then.
Time is CPU time of user and system, one thread. A tiny run of the same case comes first, so that neither counts the
loading of libraries. Nothing else is taken off.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import torch

from bench.cases import Case, inputs, listed
from tipx.runs.metric_keys import MEMORY, TIME
from tipx.train.meter import Meter

WARM_TOKENS, WARM_VOCAB = 16, 1024


class CaseFailed(Exception):
    """A case ended with an error; its text is what the process said."""


@dataclass(frozen=True)
class Cell:
    """One measurement to make."""

    case: str
    tokens: int
    vocab: int
    hidden: int
    ratio: float
    repeat: int = 0

    @property
    def kept(self) -> int:
        """K, at least one token."""
        return max(1, round(self.tokens * self.ratio))


@dataclass(frozen=True)
class Result:
    """What one measurement gave. `mib` is of memory; norms are of the gradients at hidden states and head weight."""

    mib: float
    cpu_s: float
    wall_s: float
    loss: float
    states_norm: float
    weight_norm: float


def measure(cell: Cell) -> Result:
    """Measure here: call it in a fresh process."""
    torch.set_num_threads(1)
    case = listed()[cell.case]
    warm(case, cell)
    student, teacher = inputs(cell.tokens, cell.vocab, cell.hidden)
    meter = Meter(torch.device("cpu"))
    with meter.phase("before"):
        pass
    began = time.process_time()
    with meter.phase("loss"):
        loss = case.step(student, teacher, cell.kept)
    cpu_s = time.process_time() - began
    values = meter.read()
    states_norm, weight_norm = (norm(leaf) for leaf in (student.states_ND, student.head.weight_VD))
    mib = values[MEMORY.of("loss")] - values[MEMORY.of("before")]
    return Result(mib, cpu_s, values[TIME.of("loss")], loss.item(), states_norm, weight_norm)


def warm(case: Case, cell: Cell) -> None:
    """The same code on next to nothing: imports, thread pools and matrix libraries are loaded after it."""
    student, teacher = inputs(WARM_TOKENS, min(WARM_VOCAB, cell.vocab), cell.hidden)
    case.step(student, teacher, max(1, round(WARM_TOKENS * cell.ratio)))


def norm(leaf: torch.Tensor) -> float:
    """Of a leaf's gradient."""
    if leaf.grad is None:
        raise ValueError("the case left no gradient")
    return leaf.grad.double().norm().item()


def measured(cell: Cell) -> Result:
    """`measure` in a fresh process."""
    command = [sys.executable, "-m", "bench.run", json.dumps(asdict(cell))]
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}, perhaps killed for its memory"]
        raise CaseFailed(f"{cell.case}, {cell.tokens} tokens, ratio {cell.ratio}: {last[0]}")
    return Result(**json.loads(done.stdout.strip().splitlines()[-1]))


if __name__ == "__main__":
    print(json.dumps(asdict(measure(Cell(**json.loads(sys.argv[1]))))))  # noqa: T201
