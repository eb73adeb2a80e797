"""Devices on which a step's time is predicted: from a data sheet, or measured here."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen3Config, Qwen3ForCausalLM

from tipx import config
from tipx.errors import ConfigError
from tipx.processes import machine_memory
from tipx.spec import NonNegative, Positive, Ratio, Words, spec

HERE = "here"
"""The name of the device that is measured when it is asked for."""
GIB = 2**30
SIDE, ELEMENTS, TINY = 1024, 2**19, 32
"""What is measured: a product of square matrices, a pass over a tensor that stays in a cache, and a tiny model."""


@spec
class DeviceSpec:
    """What a step's time depends on."""

    kind: Literal["cuda", "cpu"]
    """cuda starts operators ahead of the device, so that the slower of the two counts. cpu does both in turn."""
    gpu: Words | None
    """A part of the name that torch gives this GPU, by which `tipx preflight` finds it. null: found by no name."""
    fp32_tflops: Positive
    """Peak of matrix products in float32, TFLOP/s."""
    bf16_tflops: Positive
    """Peak of matrix products in bfloat16, TFLOP/s."""
    bandwidth_gbs: Positive
    """Peak of bytes read and written, GB/s."""
    memory_gib: Positive
    """Memory that torch finds, GiB: a little less than the data sheet's figure."""
    operator_us: NonNegative
    """Microseconds that the host needs to start one operator."""
    efficiency: Ratio
    """Share of the peaks that is reached. 1 where the figures are measured."""
    source: Words
    """Where the figures are from."""


def load_devices(settings: Sequence[str] = (), config_dir: Path | None = None) -> dict[str, DeviceSpec]:
    """The devices of `conf/devices.yaml`, changed by settings such as `h100.efficiency=0.4`; raises ConfigError."""
    devices: dict[str, DeviceSpec] = config.build(config.load(settings, "devices", config_dir), config_dir)
    return devices


def find_device(
    name: str, settings: Sequence[str] = (), config_dir: Path | None = None, option: str = "--time"
) -> DeviceSpec:
    """The device of that name, or this machine's own; raises ConfigError for a name that is unknown."""
    devices = load_devices(settings, config_dir)
    if name == HERE:
        return find_own_device(gpu=torch.cuda.is_available())
    if name not in devices:
        raise ConfigError(f"{option} {name}: no such device; expected {', '.join([HERE, *devices])}")
    return devices[name]


def find_own_device(*, gpu: bool) -> DeviceSpec:
    """This machine's GPU by its name, if the table has it; else this machine, measured."""
    named = [spec for spec in load_devices().values() if gpu and spec.gpu and spec.gpu in torch.cuda.get_device_name()]
    return named[0] if named else measure_device(torch.device("cuda" if gpu else "cpu"))


def device_memory(kind: str) -> int:
    """Bytes of this machine's GPU, or of its RAM."""
    return torch.cuda.mem_get_info()[1] if kind == "cuda" else machine_memory()


def measure_device(device: torch.device) -> DeviceSpec:
    """The figures that a device reaches with the threads that torch has now; takes about a second.

    Bandwidth is that of `exp` and of a product, elementwise, which passes over tiles consist of.
    """
    products = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = (torch.ones(SIDE, SIDE, dtype=dtype, device=device) for _ in range(2))
        products[dtype] = 2 * SIDE**3 / time_call(partial(torch.mm, left, right), device) / 1e12
    x_N = torch.ones(ELEMENTS, device=device)
    out_N = torch.empty_like(x_N)
    calls = partial(torch.exp, x_N, out=out_N), partial(torch.mul, x_N, x_N, out=out_N)
    passes = sum(time_call(call, device) for call in calls)
    return DeviceSpec(
        kind="cuda" if device.type == "cuda" else "cpu",
        gpu=None,
        fp32_tflops=products[torch.float32],
        bf16_tflops=products[torch.bfloat16],
        memory_gib=device_memory(device.type) / GIB,
        bandwidth_gbs=5 * ELEMENTS * x_N.element_size() / passes / 1e9,
        operator_us=measure_operator(device),
        efficiency=1.0,
        source=f"measured here, {torch.get_num_threads()} threads" if device.type == "cpu" else "measured here",
    )


@torch.no_grad()
def measure_operator(device: torch.device) -> float:
    """Microseconds of an operator in a model with next to nothing to calculate. The Python of modules is part of it."""
    shape = Qwen3Config(
        hidden_size=TINY,
        intermediate_size=TINY,
        head_dim=TINY,
        vocab_size=TINY,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    model: Any = Qwen3ForCausalLM(shape)
    model = model.to(device).eval()
    token_11 = torch.zeros(1, 1, dtype=torch.long, device=device)
    with OperatorCounter() as counter:
        model(token_11)
    return 1e6 * time_call(partial(model, token_11), device) / counter.count


class OperatorCounter(TorchDispatchMode):
    """How many operators were called while it was entered."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def time_call(call: Callable[[], object], device: torch.device, least_s: float = 0.03) -> float:
    """Seconds of one call: the least mean of three series that take `least_s` each or longer."""
    call()
    repeats, best = 1, float("inf")
    while repeats < 10**6:
        seconds = min(time_series(call, device, repeats) for _ in range(3))
        best = seconds / repeats
        if seconds >= least_s:
            break
        repeats *= 4
    return best


def time_series(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds of so many calls, until the device has done them."""
    began = perf_counter()
    for _ in range(repeats):
        call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - began
