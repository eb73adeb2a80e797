"""What each of several processes holds: weights whole (ddp) and shared out (fsdp), predicted and measured.

States are compared with those of real processes over gloo, to the byte. Peaks of FSDP2 are compared where its
collectives send nothing (PyTorch's fake group), because gloo's threads keep the last buffers that they sent for a
while, a few groups' worth. What a GPU adds cannot be seen on a CPU: NCCL's own buffers, streams that keep a buffer a
little longer, and pieces of memory that nothing fits into.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, distributed
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.profiler import record_function
from torch.testing._internal.distributed.fake_pg import FakeStore

from tests.memory.measured import Marked, Shape, pair_of, peaks, real
from tests.memory.test_against_measurement import TOLERANCE, predicted
from tests.memory.worlds import Small
from tests.ranks import run_ranks
from tipx.memory.steps import PredictedStep
from tipx.memory.tracker import Tracker
from tipx.models.lora import add_adapter
from tipx.noise import Noise
from tipx.processes import World
from tipx.rollout import RolloutRequest
from tipx.sharding import Sharding, local_tensor, whole_weights
from tipx.train import trainer as trainer_module
from tipx.train.experiment import Experiment

pytestmark = pytest.mark.long(60)

FSDP = "hardware.strategy=fsdp"
CASES = {
    "tied": Small(micro=1, overrides=(FSDP,)),
    "untied, checkpointing": Small(tied=False, micro=2, checkpointing=True, layers=8, overrides=(FSDP,)),
    "bf16": Small(tied=False, precision="bf16", overrides=(FSDP,)),
    "bf16 as ddp rounds": Small(precision="bf16", overrides=(FSDP, "hardware.gather_dtype=float32")),
    "layers stay whole": Small(tied=False, overrides=(FSDP, "hardware.reshard_after_forward=false")),
    "adapters": Small(tied=False, overrides=(FSDP, "model.student.lora.r=4")),
    "llama": Small(kind="llama", tied=False, tokens=96, overrides=(FSDP,)),
}


class Watched(Marked):
    """Notes what gradients a process has before the optimizer's step. The numbers of a fake group mean nothing."""

    gradients = 0

    def _apply_gradients(self, loss: float) -> Any:
        self.gradients = count_bytes(p.grad for p in self.pair.student.parameters() if p.grad is not None)
        return super()._apply_gradients(loss)


def count_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(local_tensor(tensor).nbytes for tensor in tensors)


def make_step(small: Small, processes: int, world: World) -> tuple[Watched, Callable[[], None]]:
    """The trainer of one process, and its step: rollouts, scores, update."""
    exp, pair = small.exp, pair_of(small.exp, small.teacher, small.student)
    if exp.model.student.adapters is not None:
        add_adapter(pair.student, exp.model.student.adapters, "model.student.lora")
    for model in (pair.teacher, pair.student) if world.sharding is not None else ():
        world.sharding.shard(model, offload=False)  # type: ignore[union-attr]
    trainer = Watched(exp, pair, world)
    rollout = Shape(small.sequences // processes, small.prompt, small.tokens, ragged=small.micro > 1).rollout()
    noise = Noise(0).substream("rollout")
    request = RolloutRequest(prompts=rollout.prompt_ids, rows=range(len(rollout)), noise=noise)
    weights_BT = torch.zeros(rollout.valid_BT.shape)
    weights_BT[:, -round(small.ratio * rollout.valid_BT.shape[1]) :] = 1.0

    def step() -> None:
        if trainer.optimizer.state:
            with record_function("phase: rollout"), world.autocast(), whole_weights(pair.student):
                exp.rollout(pair.student, pair.tokenizer, request)
        with record_function("phase: score"):
            scored, _ = trainer.score(rollout, exp.selector.needs | {"student_entropy", "reverse_kl", "loss"})
        with record_function("phase: train"):
            trainer.update(rollout, scored, weights_BT, float(weights_BT.sum()) * processes)

    return trainer, step


def start_alone(exp: Experiment, processes: int) -> World:
    """As one of so many processes, the others of which are not there: what they send is whatever is in memory."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        del os.environ[name]
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=processes)
    mesh = init_device_mesh("cpu", (processes,), mesh_dim_names=("shard",))
    dtype = exp.hardware.choose_whole_dtype(exp.loop.precision)
    sharding = Sharding(mesh, dtype, reshard=exp.hardware.reshard_after_forward, offload=False)
    accelerator = Accelerator(cpu=True, mixed_precision=exp.loop.precision)
    accelerator.clip_grad_norm_ = lambda *_: torch.ones(())  # type: ignore[method-assign]
    trainer_module.weights.are_finite = lambda _: True
    trainer_module.Trainer._apply_gradients.__globals__["float"] = lambda _: 1.0  # of a loss that may be nan
    return World(accelerator, sharding)


def measure_peaks(small: Small, processes: int) -> dict[str, int]:
    """Of the phases of one process's step."""
    world = start_alone(small.exp, processes)
    return peaks(lambda: make_step(small, processes, world)[1])


@pytest.mark.parametrize(
    ("name", "processes"), [*((name, 2) for name in CASES), ("untied, checkpointing", 4), ("bf16", 4)]
)
def test_peaks_are_as_measured(name: str, processes: int, tmp_path: Path) -> None:
    small = CASES[name]
    (found,) = run_ranks(1, partial(measure_peaks, small, processes), tmp_path)
    expected = predicted(small, processes=processes)
    off = {phase: round(expected[phase] / found[phase] - 1, 4) for phase in found}
    assert found.keys() == {"rollout", "score", "train", "optimizer"}
    assert all(abs(share) <= TOLERANCE for share in off.values()), off


def measure_processes(small: Small, processes: int) -> tuple[dict[str, int], dict[str, int]]:
    """Peaks, and bytes of the states that live from step to step; of real processes."""
    world, made = small.exp.hardware.start(small.exp.loop.precision), list[Watched]()

    def prepare() -> Callable[[], None]:
        trainer, step = make_step(small, processes, world)
        made.append(trainer)
        return step

    highest, (trainer,) = peaks(prepare), made
    teacher, student = trainer.pair.teacher, trainer.pair.student
    whole = 0
    for model in (teacher, student) if world.sharding is not None else ():
        own = [p for p in model.parameters(recurse=True) if not hasattr(p, "placements")]
        whole += count_bytes(own)
        for group in model.modules():
            if isinstance(group, FSDPModule):
                group.reshard()
    states = [value for state in trainer.optimizer.state.values() for value in state.values()]
    held = {
        "teacher": count_bytes([*teacher.parameters(), *teacher.buffers()]) + whole,
        "student": count_bytes([*student.parameters(), *student.buffers()]),
        "gradients": trainer.gradients,
        "optimizer": count_bytes(states),
    }
    return highest, held


def predict_states(small: Small, processes: int) -> dict[str, int]:
    """Bytes that the prediction lets live from step to step, and the gradients before the optimizer's step."""
    sizes = small.case(processes=processes).sizes
    with FakeTensorMode(), Tracker() as tracker:
        step = PredictedStep(small.exp, sizes, "cpu", small.teacher, small.student, tracker, sizes.sharing)
        step.fill_gradients()
        return {part: tracker.live[part] for part in ("teacher", "student", "gradients", "optimizer")}


@pytest.mark.parametrize(("processes", "tied"), [(2, True), (2, False), pytest.param(4, False, marks=pytest.mark.slow)])
def test_states_are_those_of_real_processes(processes: int, tied: bool, tmp_path: Path) -> None:
    small = Small(tied=tied, overrides=(FSDP,))
    found = run_ranks(processes, partial(measure_processes, small, processes), tmp_path / "fsdp")
    alone = predict_states(Small(tied=tied), 1)
    expected = predict_states(small, processes)
    assert found[0][1] == expected
    assert all(held[part] <= size for _, held in found for part, size in expected.items())
    # Half of everything on two processes, a quarter on four, and at most one layer more; of the teacher also its root.
    layer = {"teacher": 4 * 12 * 96 * 96, "student": 4 * 12 * 64 * 64}
    head = 4 * small.teacher.vocab_size * 96 + 4 * 96
    for part, size in expected.items():
        more = layer["teacher"] + head if part == "teacher" else layer["student"]
        assert size <= alone[part] / processes + more, part


def test_of_adapters_alone_there_are_gradients_and_moments(tmp_path: Path) -> None:
    small = Small(tied=False, overrides=(FSDP, "model.student.lora.r=4"))
    (_, held), _ = run_ranks(2, partial(measure_processes, small, 2), tmp_path)
    expected = predict_states(small, 2)
    assert held == expected
    assert expected["gradients"] < expected["student"] / 20


class Allocated(Tracker):
    """Counts tensors that have memory: not those on meta, nor what stands for a tensor of several processes."""

    def _add(self, tensor: Tensor, part: str) -> None:
        if not tensor.is_meta and type(tensor) in (Tensor, torch.nn.Parameter):
            super()._add(tensor, part)


def test_no_process_holds_a_whole_model_while_it_loads(tmp_path: Path) -> None:
    small = Small(layers=8, tied=False)
    real(small.teacher, "float32").save_pretrained(tmp_path / "teacher")
    for processes in 2, 4:
        found = run_ranks(processes, partial(load_teacher, small, tmp_path / "teacher"), tmp_path / str(processes))
        largest = 4 * small.teacher.vocab_size * small.teacher.hidden_size
        for highest, shards in found:
            assert shards <= highest <= shards + largest + 2**20


def load_teacher(small: Small, folder: Path) -> tuple[int, int]:
    """Bytes of all tensors at the highest moment of loading, and of the shards that are left."""
    exp = replace(small.exp, hardware=replace(small.exp.hardware, strategy="fsdp"))
    world = exp.hardware.start("no")
    assert world.sharding is not None
    source = replace(exp.model.teacher, path=str(folder), dtype="float32")
    with Allocated() as tracker:
        tracker.begin("load", "teacher")
        model = source.load_sharded("teacher", world, world.sharding, offload=False)
    return sum(tracker.peaks["load"].values()), count_bytes(model.parameters())


def test_what_ddp_holds_is_whole_and_a_copy_of_gradients(tmp_path: Path) -> None:
    small = Small(tied=False)
    highest, held = run_ranks(2, partial(measure_processes, small, 2), tmp_path)[0]
    expected = predict_states(small, 2)
    assert held == expected | {"gradients": expected["gradients"] // 2}
    peak = predicted(small, processes=2)
    off = {phase: round(peak[phase] / highest[phase] - 1, 4) for phase in highest}
    assert all(abs(share) <= TOLERANCE for share in off.values()), off
