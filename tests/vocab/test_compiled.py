"""The compiled kernels give what plain torch gives; where there is no compiler, one line says so and plain torch runs.

torch.compile cannot look through the shape checks of these tests, so it runs in a process without them. That process
makes `report()` and prints it.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tipx.divergences import ForwardKL, GeneralisedJSD, ReverseKL, TokenDivergence, TopKDivergence
from tipx.types import STATISTICS
from tipx.vocab import Head, Hidden, Vocab

pytestmark = pytest.mark.long(60)

V, D = 5000, 12
CAPPED = 40  # rows of the case with a cap
KINDS: dict[str, TokenDivergence] = {
    "reverse KL": ReverseKL(),
    "JSD": GeneralisedJSD(beta=0.3),
    "top k with a tail": TopKDivergence(base=ForwardKL(), k=4, support="union", tail=True),
}
SIZES: dict[str, dict[str, Any]] = {
    # Three tiles of 2,048 columns for 5,000, whose logits are kept; and seven of 768, made twice.
    "logits once": {"chunk": "auto", "budget_mib": 100},
    "logits twice": {"chunk": 10**6, "budget_mib": 2},
}


def pair(rows: int, *, capped: bool) -> tuple[Hidden, Hidden]:
    """Heads with a scale; with biases that rule columns out for both, or with a cap of the student's logits."""
    draws = torch.manual_seed(rows)
    heads = []
    for _ in range(2):
        bias_V = torch.randn(V, generator=draws).index_fill(0, torch.tensor([3, V - 1]), -torch.inf)
        heads.append(Head(torch.randn(V, D, generator=draws) / 2, None if capped else bias_V, scale=0.7))
    heads[0] = replace(heads[0], softcap=5.0 if capped else None)
    states = [torch.randn(rows, D, generator=draws) for _ in range(2)]
    return Hidden(states[0], heads[0]), Hidden(states[1], heads[1])


def run(rows: int, divergence: TokenDivergence, engine: Vocab) -> dict[str, Tensor]:
    """Statistics, loss and gradients."""
    student, teacher = pair(rows, capped=rows == CAPPED)
    leaves = [student.states_ND.requires_grad_(), student.head.weight_VD.requires_grad_()]
    tokens_N = torch.arange(rows) % 3
    values = engine.compute_statistics(student, teacher, tokens_N, STATISTICS, divergence).values
    one = engine.compute_statistics(student, teacher, tokens_N, frozenset({"student_entropy"}), divergence).values
    loss = engine.compute_loss(student, teacher, torch.linspace(0.1, 2, rows), divergence)
    grads = torch.autograd.grad(loss, leaves)
    ids, probs = engine.find_top_tokens(student, 5)
    more = {"entropy alone": one["student_entropy"], "loss": loss.detach(), "ids": ids.float(), "probs": probs}
    return values | more | {"states": grads[0], "weights": grads[1]}


def report() -> dict[str, Any]:
    """The largest differences, relative to each tensor's norm, and how many functions were compiled."""
    worst: dict[str, float] = {}
    for kind, divergence in KINDS.items():
        for size, settings in SIZES.items():
            for rows in (300, CAPPED, 5):  # 5 are too few for a kernel
                plain = run(rows, divergence, Vocab(**settings, compile=False))
                fused = run(rows, divergence, Vocab(**settings, compile=True))
                for name, value in plain.items():
                    error = float((fused[name] - value).norm() / value.norm().clamp(min=1e-30))
                    worst[f"{kind}: {name}"] = max(worst.get(f"{kind}: {name}", 0.0), error)
                assert plain.keys() == fused.keys(), size
    return {"worst": worst, "compiled": torch._dynamo.utils.counters["stats"]["unique_graphs"]}


def measure(tmp_path: Path, **environment: str) -> tuple[dict[str, Any], str]:
    """`report()` of a process of its own, and what it says."""
    done = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result, done.stderr


def test_kernels_give_what_plain_torch_gives(tmp_path: Path) -> None:
    result, said = measure(tmp_path)
    assert max(result["worst"].values()) < 1e-4, result["worst"]
    assert result["worst"]["reverse KL: states"] > 0  # it is other code
    # Both models, one model, the second pass of the JSD (as loss and as statistic), and the gradient of each
    # divergence, with and without a cap: each for any number of rows. torch sums rows of more than 4,096 columns in
    # another way, so the second pass is compiled twice.
    assert result["compiled"] == 12, result
    assert "compiler failed" not in said


def test_without_a_compiler_one_line_says_so(tmp_path: Path) -> None:
    result, said = measure(tmp_path, CXX="/nonexistent/g++")
    assert max(result["worst"].values()) < 1e-5
    (line,) = [line for line in said.splitlines() if line.startswith("vocab.compile")]
    assert "plain torch is used" in line


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(report()))  # noqa: T201
