"""FSDP with a mesh of one: hooks, types, results, time and memory of sharded models where there is one GPU.

NCCL takes no two processes on one GPU, and `hardware.strategy=fsdp` refuses one process. So the mesh is made here.
Nothing is sent anywhere, but all of FSDP2's hooks, copies and casts are done as with many.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.distributed import HashStore, destroy_process_group, init_process_group  # type: ignore[attr-defined]
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

from bench.gpu_check import step, training_step
from bench.gpu_check.gauge import AllocatorMeter
from bench.gpu_check.pairs import Shape, make_pair
from bench.gpu_check.results import Work
from bench.step import SampledSession, open_session
from tipx.models.pair import LoadedPair
from tipx.processes import World
from tipx.runs.metric_keys import GRAD_NORM, LOSS, TIME
from tipx.sharding import Sharding, run_inside
from tipx.train.experiment import Experiment
from tipx.train.loop import one_step
from tipx.train.trainer import Trainer

GIB = 2**30
EQUAL = "Sharded against plain, small pair"
WIDE = "Sharded against plain, whole steps"
FP32_BOUNDS = 1e-3, 1e-3, 1e-3
"""Relative, of loss, gradient and its length in fp32: the same sums in another order."""
BF16_BOUNDS = 5e-3, 0.06, 1e-2
"""The same where layers are whole in bfloat16: the residual stream is rounded, too."""
WIDE_BOUND = 2e-2
"""Relative, of the loss of the wide pair in bf16, sharded against plain."""


@dataclass(frozen=True)
class Way:
    """How the weights are held: `dtype` of whole layers, None for their own; `sharded` is false for plain tipx."""

    name: str
    sharded: bool = True
    dtype: torch.dtype | None = None
    offload: bool = False

    def share(self, mesh: DeviceMesh) -> Sharding | None:
        return Sharding(mesh, self.dtype, reshard=True, offload=self.offload) if self.sharded else None


WAYS = (
    Way("plain", sharded=False),
    Way("fsdp, layers in bfloat16", dtype=torch.bfloat16),
    Way("fsdp, layers in float32"),
    Way("fsdp, bfloat16, on the CPU", dtype=torch.bfloat16, offload=True),
)


@dataclass(frozen=True)
class Sizes:
    """The wide step, and rounds in which the ways take turns."""

    step: step.Sizes
    rounds: int
    small_shape: Shape


CASES = (("full", 1.0), ("soft_or", 0.5))
FULL = Sizes(
    step.Sizes(Shape(4, 128, 512, 1), (8, 6, 4, 3, 2, 1), 2, checkpointing=True, cases=CASES), 2, training_step.SHAPE
)
SMALL = Sizes(step.Sizes(Shape(2, 8, 16, 1), (2,), 1, checkpointing=False, cases=CASES), 1, training_step.SHAPE)
SHARE = 0.7
"""Of the free memory: FSDP holds copies of a group besides."""


def run(work: Work) -> None:
    """Results first, then time and memory."""
    sizes = SMALL if work.small else FULL
    with alone(work.device) as mesh:
        work.say("results of a small pair")
        compare_small(work, mesh)
        watch_layers(work, mesh)
        if work.has_time(30, "whole steps"):
            compare_wide(work, sizes, mesh)


@contextmanager
def alone(device: torch.device) -> Iterator[DeviceMesh]:
    """A process group of this process, and a mesh of one."""
    # What is on the CPU is reduced there: the norm of gradients that are offloaded.
    backend = "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl"
    init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    try:
        yield init_device_mesh(device.type, (1,), mesh_dim_names=("shard",))
    finally:
        destroy_process_group()


def shard_pair(pair: LoadedPair, sharding: Sharding | None) -> LoadedPair:
    """In place; the teacher stays on the device."""
    if sharding is not None:
        sharding.shard(pair.teacher, offload=False)
        sharding.shard(pair.student, offload=sharding.offload)
    return pair


def start_world(exp: Experiment, sharding: Sharding | None) -> World:
    """One process, as a run with `hardware.strategy=fsdp` has many."""
    return World(exp.hardware.start(exp.loop.precision).accelerator, sharding)


def compare_small(work: Work, mesh: DeviceMesh) -> None:
    """Loss and gradient of a step against the plain step on the CPU in fp32, tokens being the CPU's choice."""
    for selector, ratio in CASES:
        words = f"selector={selector}", f"ratio={ratio}"
        right = training_step.run_step(torch.device("cpu"), None, *words, "loop.precision=no")
        for way in WAYS[1:]:
            precision = "no" if way.dtype is None else "bf16"
            own = training_step.run_step(
                work.device,
                right.weights_BT,
                *words,
                f"loop.precision={precision}",
                share=partial(shard_pair, sharding=way.share(mesh)),
                start=partial(start_world, sharding=way.share(mesh)),
            )
            errors = training_step.compare_steps(own, right)
            bounds = FP32_BOUNDS if way.dtype is None else BF16_BOUNDS
            work.row(EQUAL, way=way.name, selector=selector, loss=errors[0], gradient=errors[1], length=errors[2])
            for name, error, bound in zip(("loss", "gradient", "length"), errors[:3], bounds, strict=True):
                work.check(f"small pair, {way.name}, {selector}: {name}", error, bound)


def watch_layers(work: Work, mesh: DeviceMesh) -> None:
    """That a layer's weights are whole and in bfloat16 while it runs, and shards in fp32 before and after."""
    pair = training_step.small_pair(work.device)
    way = WAYS[1]
    shard_pair(pair, way.share(mesh))
    layers = [module for module in pair.student.modules() if isinstance(module, GradientCheckpointingLayer)]
    seen: list[bool] = []

    def note_weights(module: torch.nn.Module, _: object) -> None:
        seen.append(all(not isinstance(p, DTensor) and p.dtype == way.dtype for p in module.parameters()))

    def weights_rest() -> bool:
        return all(isinstance(p, DTensor) and p.dtype == torch.float32 for p in pair.student.parameters())

    rest = [weights_rest()]
    for layer in layers:
        layer.register_forward_pre_hook(note_weights)
    ids = torch.arange(2, 8, device=work.device)[None]
    states: Tensor = run_inside(pair.student, lambda: pair.student.base_model(input_ids=ids).last_hidden_state)
    states.float().sum().backward()
    gradients = [p.grad for p in pair.student.parameters() if p.grad is not None]
    work.check("layers that ran with weights that were not whole in bfloat16", seen.count(False), 0)
    work.check("layers that did not run", len(layers) - len(seen), 0)
    rest.append(all(g.dtype == torch.float32 for g in gradients))
    work.check("weights or gradients at rest that are no shards in float32", rest.count(False), 0)


def compare_wide(work: Work, sizes: Sizes, mesh: DeviceMesh) -> None:
    """Each way builds its pair, makes a step that is not counted and one that is; so once a round."""
    with TemporaryDirectory() as name:
        plan = step.plan_depth(work, sizes.step, Path(name), SHARE)
    if plan is None:
        return
    turns: dict[str, list[Turn]] = {way.name: [] for way in WAYS}
    for number in range(sizes.rounds):
        for way in WAYS:
            if not work.has_time(25, f"{way.name}, round {number + 1}"):
                continue
            work.say(f"{way.name}, round {number + 1}")
            try:
                turns[way.name].append(take_turn(work, sizes, plan, way, mesh))
            except torch.OutOfMemoryError:
                work.note(f"{way.name}: does not fit into the device's memory")
            release(work.device)
    report_turns(work, turns)


@dataclass(frozen=True)
class Turn:
    """Seconds of a step without its rollout, GiB at its highest moment, loss and norm of the gradient."""

    seconds: float
    gib: float
    loss: float
    norm: float


def take_turn(work: Work, sizes: Sizes, plan: step.Plan, way: Way, mesh: DeviceMesh) -> Turn:
    """Build, step, step again; the second is measured. Both see the first step's weights of the same seed."""
    AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001 - else the first world's is kept for ever
    exp = plan.experiments["soft_or 0.5"]
    meter = AllocatorMeter(work.device)
    meter.case = way.name
    with meter.record():
        pair = make_pair(
            {role: step.config_of(work, role, plan.layers) for role in ("teacher", "student")},
            {"teacher": torch.bfloat16, "student": torch.float32},
            work.device,
        )
        sharding = way.share(mesh)
        session: SampledSession = open_session(Trainer(exp, shard_pair(pair, sharding), start_world(exp, sharding)))
        session.meter = meter
        session.made = sizes.step.shape.make_rollout(pair.rows, work.device)
        first = one_step(session, 1)
        meter.peaks.clear()
        one_step(session, 2)
    values = meter.read()
    seconds = sum(values[TIME.of(phase)] for phase in step.PHASES)
    return Turn(seconds, max(meter.peaks.values()) / GIB, float(first[LOSS]), float(first[GRAD_NORM]))


def release(device: torch.device) -> None:
    """The memory of what is no longer there."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def report_turns(work: Work, turns: dict[str, list[Turn]]) -> None:
    """Beside plain."""
    plain = turns[WAYS[0].name]
    for name, made in turns.items():
        if not made:
            continue
        seconds, gib = min(turn.seconds for turn in made), max(turn.gib for turn in made)
        cells: dict[str, Any] = {"way": name, "s": seconds, "peak GiB": gib, "loss": made[0].loss}
        cells["grad norm"] = made[0].norm
        if plain:
            cells["time / plain"] = seconds / min(turn.seconds for turn in plain)
            cells["peak / plain"] = gib / max(turn.gib for turn in plain)
            work.check(f"wide pair, {name}: loss against plain", relative(made, plain), WIDE_BOUND)
        work.row(WIDE, **cells)


def relative(made: Sequence[Turn], plain: Sequence[Turn]) -> float:
    """Largest relative difference of losses."""
    return max(abs(turn.loss / plain[0].loss - 1) for turn in made)
