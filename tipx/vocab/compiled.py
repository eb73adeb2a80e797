"""The functions of `fold.py`, each as one kernel, where a compiler is there and the work is worth it.

`torch.compile` writes C++ for a CPU and Triton for a GPU, and keeps what it made for the next run (in the folder that
TORCHINDUCTOR_CACHE_DIR names, else in the system's temporary folder). The first run on a machine waits half a minute
for it, later ones some seconds. So small vocabularies and few rows are left to plain torch, which gives the same
numbers up to rounding. The kernels take any number of rows and columns, so each is compiled once.
"""

import logging
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

log = logging.getLogger("tipx")
FEWEST_ROWS = 16
"""Fewer rows are not worth a kernel; and torch compiles one row as a case of its own."""
Runner = Callable[..., Any]
"""How a function of `fold.py` is run: called with it and its arguments, of which the first is a tile."""
FAILED: dict[str, str] = {}
"""Names of functions that could not be compiled, and why."""


def run_plain(function: Callable[..., Any], *given: Any) -> Any:
    """The function's result, by plain torch."""
    return function(*given)


def run_compiled(function: Callable[..., Any], tile_NC: Float[Tensor, "N C"], *rest: Any) -> Any:
    """The function's result, by its kernel. What cannot be compiled is said once, and then done by plain torch."""
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
