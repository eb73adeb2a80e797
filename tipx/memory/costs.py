"""What each operator of a step costs: multiplications, bytes moved, and being started.

The operators are those of the real modules on fake tensors, as `tracker` sees them, so that nobody has to keep a list
of what a layer or a loss does. The time of an operator on a device is the longer of two: its multiplications at the
peak of products, and its bytes at the peak of memory. (That is the roofline model.)
"""

from collections import Counter, defaultdict
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from tipx.memory.devices import DeviceSpec
from tipx.memory.tracker import Tracker

aten = torch.ops.aten
READ_IN_PART = {aten.embedding, aten.index, aten.index_select, aten.gather}
"""Operators that read as much of their first argument as they return, and not all of it."""
MOVE_NOTHING = {aten.empty, aten.empty_like, aten.new_empty, aten._unsafe_view}  # noqa: SLF001
PRODUCTS = {aten.mm, aten.addmm, aten.addmm_}
ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu: (0, 2),  # noqa: SLF001
    aten._scaled_dot_product_flash_attention_for_cpu_backward: (1, 5),  # noqa: SLF001
}
"""Where the query stands among the arguments, with the key behind it, and how many products are made of the two.

torch counts those of GPUs only."""


class OperatorCost(NamedTuple):
    """`half`: in a type of two bytes. `flops` count a multiplication and an addition as two."""

    half: bool
    flops: float
    bytes: int

    def seconds(self, device: DeviceSpec) -> float:
        """How long the device works at it."""
        peak = 1e12 * (device.bf16_tflops if self.half else device.fp32_tflops)
        return max(self.flops / peak, self.bytes / (1e9 * device.bandwidth_gbs)) / device.efficiency


class CostTracker(Tracker):
    """Counts operators by section and cost while it is entered. The tensors' lives are followed too."""

    def __init__(self) -> None:
        super().__init__()
        self.costs: defaultdict[str, Counter[OperatorCost]] = defaultdict(Counter)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        self.costs[self.section][operator_cost(func, args, kwargs or {}, out)] += 1
        return out

    def seconds(self, section: str, device: DeviceSpec) -> tuple[float, float]:
        """Of all operators of a section: how long the device works, and how long the host needs to start them."""
        counted = self.costs[section].items()
        device_s = sum(count * cost.seconds(device) for cost, count in counted)
        return device_s, sum(count for _, count in counted) * device.operator_us / 1e6


def operator_cost(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> OperatorCost:
    """The cost of one operator, from the shapes of what it takes and returns."""
    packet = func.overloadpacket
    results = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
    # Of a matrix product it is the factors' type that counts: their product may be wider.
    typed = [x for x in args if isinstance(x, Tensor)][-1:] if packet in PRODUCTS else results[:1]
    half = any(x.dtype.itemsize == 2 for x in typed)
    if func.is_view or packet in MOVE_NOTHING:
        return OperatorCost(half, 0, 0)
    taken = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
    if packet in READ_IN_PART:
        taken = results
    return OperatorCost(half, count_flops(packet, args, kwargs, out), sum(map(tensor_bytes, [*taken, *results])))


def count_flops(packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> float:
    """Of matrix products and attention; of all else bytes are what takes time."""
    if packet in ATTENTION:
        place, products = ATTENTION[packet]
        query, key = args[place : place + 2]
        return float(products * 2 * query.numel() * key.shape[-2])
    if packet in PRODUCTS:
        factors = [x for x in args if isinstance(x, Tensor)]
        return float(flop_registry[aten.mm if packet is aten.mm else aten.addmm](*factors, out_val=out))
    return float(flop_registry[packet](*args, **kwargs, out_val=out)) if packet in flop_registry else 0.0


def tensor_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
