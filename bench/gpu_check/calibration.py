"""The device's own figures: a large product and a large copy. All times are also given in units of these."""

from dataclasses import dataclass
from functools import partial

import torch

from bench.gpu_check.gauge import time_call
from bench.gpu_check.results import Work

TABLE = "The device"
TYPES = (torch.bfloat16, torch.float32)
ROUNDS = 5


@dataclass(frozen=True)
class Sizes:
    """Rows and columns of the factors, and MiB that are copied."""

    side: int
    mib: int


FULL, SMALL = Sizes(8192, 2048), Sizes(512, 64)


def run(work: Work) -> None:
    """The best of some rounds."""
    sizes, device = SMALL if work.small else FULL, work.device
    torch.set_float32_matmul_precision("highest")
    for dtype in TYPES:
        left, right = (torch.ones(sizes.side, sizes.side, dtype=dtype, device=device) for _ in range(2))
        seconds = least_time(partial(torch.mm, left, right), device)
        name = str(dtype).removeprefix("torch.")
        work.check(f"product of ones in {name}, largest error", (left @ right - sizes.side).abs().max().item(), 0.0)
        work.row(TABLE, what=f"product in {name}", figure=product_tflops(sizes.side, seconds), unit="TFLOP/s")
    source = torch.ones(sizes.mib * 2**18, device=device)
    target = torch.empty_like(source)
    seconds = least_time(partial(target.copy_, source), device)
    work.row(TABLE, what="copy", figure=copy_gbs(sizes.mib, seconds), unit="GB/s")
    work.check("copy, largest error", (target - source).abs().max().item(), 0.0)


def least_time(call: partial[torch.Tensor], device: torch.device) -> float:
    """Seconds, after one call that is not counted."""
    call()
    return min(time_call(call, device) for _ in range(ROUNDS))


def product_tflops(side: int, seconds: float) -> float:
    """A multiplication and an addition are two."""
    return 2 * side**3 / seconds / 1e12


def copy_gbs(mib: int, seconds: float) -> float:
    """Bytes read and written."""
    return 2 * mib * 2**20 / seconds / 1e9
