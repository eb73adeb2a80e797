"""The functions of `fold.py`, each as one kernel, where a compiler is there and the work is worth it.

`torch.compile` writes C++ for a CPU and Triton for a GPU, and keeps what it made for the next run (in the folder that
TORCHINDUCTOR_CACHE_DIR names, else in the system's temporary folder). The first run on a machine waits half a minute
for it, later ones 3 seconds. So small vocabularies and few rows are left to plain torch, which gives the same numbers
up to rounding. The kernels take any number of rows and columns, so each is compiled once.
"""

import logging
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tipx.divergences import TokenDivergence
from tipx.vocab import fold
from tipx.vocab.fold import GradientInputs, OnlineSums

log = logging.getLogger("tipx")
FEWEST_ROWS = 16
"""Fewer rows are not worth a kernel; and torch compiles one row as a case of its own."""


class Eager:
    """The functions of `fold.py` as they stand."""

    fused = False

    def fold_one_model(self, logits_NC: Tensor, sums: OnlineSums) -> OnlineSums:
        return fold.fold_one_model(logits_NC, sums)

    def fold_both_models(
        self, student_NC: Tensor, teacher_NC: Tensor, student_sums: OnlineSums, teacher_sums: OnlineSums
    ) -> tuple[OnlineSums, OnlineSums]:
        return fold.fold_both_models(student_NC, teacher_NC, student_sums, teacher_sums)

    def sum_divergence(
        self, student_NC: Tensor, teacher_NC: Tensor, lse_NN: tuple[Tensor, Tensor], divergence: TokenDivergence
    ) -> tuple[Tensor, Tensor]:
        return fold.sum_divergence(student_NC, teacher_NC, *lse_NN, divergence)

    def compute_tile_gradient(
        self,
        student_NC: Float[Tensor, "N C"],
        teacher_NC: Float[Tensor, "N C"],
        inputs: GradientInputs,
        divergence: TokenDivergence,
        scale: float,
        softcap: float | None,
        out_NC: Float[Tensor, "N C"],
    ) -> None:
        """See `fold.compute_tile_gradient`. The result goes to `out_NC`, which may be the student's tile."""
        write_gradient(student_NC, teacher_NC, inputs, divergence, scale, softcap, out_NC)


class Fused(Eager):
    """The same, each as one compiled kernel. What cannot be compiled is said once, and then done by plain torch."""

    fused = True

    def fold_one_model(self, logits_NC: Tensor, sums: OnlineSums) -> OnlineSums:
        result: OnlineSums = run_compiled(fold.fold_one_model, logits_NC, sums)
        return result

    def fold_both_models(
        self, student_NC: Tensor, teacher_NC: Tensor, student_sums: OnlineSums, teacher_sums: OnlineSums
    ) -> tuple[OnlineSums, OnlineSums]:
        result: tuple[OnlineSums, OnlineSums] = run_compiled(
            fold.fold_both_models, student_NC, teacher_NC, student_sums, teacher_sums
        )
        return result

    def sum_divergence(
        self, student_NC: Tensor, teacher_NC: Tensor, lse_NN: tuple[Tensor, Tensor], divergence: TokenDivergence
    ) -> tuple[Tensor, Tensor]:
        parts: tuple[Tensor, Tensor] = run_compiled(fold.sum_divergence, student_NC, teacher_NC, *lse_NN, divergence)
        return parts

    def compute_tile_gradient(
        self,
        student_NC: Float[Tensor, "N C"],
        teacher_NC: Float[Tensor, "N C"],
        inputs: GradientInputs,
        divergence: TokenDivergence,
        scale: float,
        softcap: float | None,
        out_NC: Float[Tensor, "N C"],
    ) -> None:
        run_compiled(write_gradient, student_NC, teacher_NC, inputs, divergence, scale, softcap, out_NC)


def write_gradient(
    student_NC: Tensor,
    teacher_NC: Tensor,
    inputs: GradientInputs,
    divergence: TokenDivergence,
    scale: float,
    softcap: float | None,
    out_NC: Tensor,
) -> None:
    """The gradient in memory that is there already, in the type of that memory."""
    out_NC.copy_(fold.compute_tile_gradient(student_NC, teacher_NC, inputs, divergence, scale, softcap))


FAILED: dict[str, str] = {}
"""Names of functions that could not be compiled, and why."""


def run_compiled(function: Callable[..., Any], tile_NC: Float[Tensor, "N C"], *rest: Any) -> Any:
    """The function's result, by its kernel if it can be compiled."""
    if len(tile_NC) < FEWEST_ROWS or function.__name__ in FAILED:
        return function(tile_NC, *rest)
    try:
        return compile_function(function)(tile_NC, *rest)
    except torch._dynamo.exc.TorchDynamoException as error:  # noqa: SLF001 - torch has no public name for it
        reason = str(error).strip().splitlines()[0]
        if reason not in FAILED.values():
            log.warning("vocab.compile: plain torch is used, for the compiler failed (%s)", reason)
        FAILED[function.__name__] = reason
        return function(tile_NC, *rest)


@cache
def compile_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel of a function, for any number of rows and columns. It is compiled when it is first called."""
    # By default torch starts a process for each core to compile with, which takes longer than these few kernels.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    return torch.compile(function, dynamic=True, fullgraph=True)
