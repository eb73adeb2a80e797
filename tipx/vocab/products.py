"""Matrix products whose result is fp32, also of factors in bfloat16.

A bfloat16 product that is rounded to bfloat16 keeps 8 bits of each logit. A logit of 20 is then off by up to 0.06, and
so are the log-probabilities. So the sums of a product are kept as they are made, in fp32. A GPU does that in one call
(`out_dtype`). Elsewhere the factors are widened first: products of two bfloat16 numbers are exact in fp32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from jaxtyping import Float
from torch import Tensor

from tipx.vocab.buffers import TileBuffers


def widen(dtype: torch.dtype) -> torch.dtype:
    """The type of logits and of sums: fp32, or float64 for float64."""
    return torch.promote_types(dtype, torch.float32)


ASSUMED: ContextVar[bool | None] = ContextVar("ASSUMED", default=None)
"""What a prediction for another device takes for the answer of `multiplies_into_fp32`."""


def multiplies_into_fp32(device: torch.device) -> bool:
    """Whether torch can multiply bfloat16 factors into an fp32 result on the device."""
    assumed = ASSUMED.get()
    if assumed is not None:
        return assumed
    key = torch._C._dispatch_key_for_device(device.type)  # noqa: SLF001 - no public name tells without trying
    return torch._C._dispatch_has_kernel_for_dispatch_key("aten::mm.dtype_out", key)  # noqa: SLF001


@contextmanager
def assume_fp32_products(assumed: bool | None) -> Iterator[None]:  # noqa: FBT001 - a yes/no is the whole argument
    """Inside, `multiplies_into_fp32` gives `assumed`, unless that is None."""
    token = ASSUMED.set(assumed)
    try:
        yield
    finally:
        ASSUMED.reset(token)


def widen_factor(factor: Tensor, buffers: TileBuffers, name: str) -> Tensor:
    """The factor as the device needs it: itself, or in fp32 in the buffer `name`."""
    wide = widen(factor.dtype)
    if factor.dtype == wide or multiplies_into_fp32(factor.device):
        return factor
    return buffers.like(name, factor, wide).copy_(factor)


def multiply(left_AB: Float[Tensor, "A B"], right_BC: Float[Tensor, "B C"], out_AC: Float[Tensor, "A C"]) -> None:
    """out = left @ right. The factors have one type, and are those of `widen_factor`."""
    if left_AB.dtype == out_AC.dtype:
        torch.mm(left_AB, right_BC, out=out_AC)
    else:
        torch.mm(left_AB, right_BC, out_dtype=out_AC.dtype, out=out_AC)


def add_product(left_AB: Float[Tensor, "A B"], right_BC: Float[Tensor, "B C"], sum_AC: Float[Tensor, "A C"]) -> None:
    """sum += left @ right. The factors have one type, and are those of `widen_factor`."""
    if left_AB.dtype == sum_AC.dtype:
        sum_AC.addmm_(left_AB, right_BC)
    else:
        torch.addmm(sum_AC, left_AB, right_BC, out_dtype=sum_AC.dtype, out=sum_AC)
