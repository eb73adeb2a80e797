"""One training step of a small pair on the device, against the same on the CPU in fp32.

Weights are drawn on the CPU and copied, responses are fixed, and the CPU's choice of tokens is trained on in both. What
is compared are loss, statistics, selection, and the gradient of all weights before it is clipped.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from bench.gpu_check.pairs import Shape, build_experiment, make_pair, small_config
from bench.gpu_check.results import Work
from tipx.models.pair import LoadedPair
from tipx.noise import Noise
from tipx.processes import World
from tipx.sharding import whole_tensor
from tipx.train.experiment import Experiment
from tipx.train.step_metrics import Update
from tipx.train.trainer import Trainer
from tipx.types import Rollout, TokenStats

TABLE = "A training step against the CPU in fp32"
SHAPE = Shape(sequences=4, prompt=12, response=40, micro_batch=2)
SELECTORS = (("full", 1.0), ("soft_or", 0.5), ("q3_only", 0.2), ("entropy_top", 0.2), ("random", 0.1))
BOUNDS = {"no": (1e-4, 1e-3, 1e-3, 0.05), "bf16": (5e-3, 6e-2, 1e-2, 0.2)}
"""By precision: of loss, gradient and its length, relative, and the share of kept tokens that are others."""


class KeepingTrainer(Trainer):
    """Leaves the gradient of a step in `gradient`, as one vector of float64 on the CPU."""

    gradient: Tensor

    def _apply_gradients(self, loss: float) -> Update:
        parts = [whole_tensor(p.grad) for p in self.pair.student.parameters() if p.grad is not None]
        self.gradient = torch.cat([part.flatten().to("cpu", torch.float64) for part in parts])
        return super()._apply_gradients(loss)


@dataclass(frozen=True)
class Step:
    """What a step gave."""

    loss: float
    gradient: Tensor
    weights_BT: Tensor


def compare(work: Work) -> None:
    """Each selector in fp32 and in bf16."""
    cpu = torch.device("cpu")
    for selector, ratio in SELECTORS:
        words = f"selector={selector}", f"ratio={ratio}"
        right = run_step(cpu, None, *words, "loop.precision=no")
        for precision, bounds in BOUNDS.items():
            step = run_step(work.device, right.weights_BT, *words, f"loop.precision={precision}")
            errors = compare_steps(step, right)
            names = "loss", "gradient", "length", "other tokens"
            work.row(
                TABLE, selector=selector, ratio=ratio, precision=precision, **dict(zip(names, errors, strict=True))
            )
            for name, error, bound in zip(names, errors, bounds, strict=True):
                work.check(f"training step, {selector} {ratio:g}, {precision}: {name}", error, bound)


def start_plainly(exp: Experiment) -> World:
    return exp.hardware.start(exp.loop.precision)


def run_step(
    device: torch.device,
    weights_BT: Tensor | None,
    *words: str,
    share: Callable[[LoadedPair], LoadedPair] = lambda pair: pair,
    start: Callable[[Experiment], World] = start_plainly,
) -> Step:
    """One step; with `weights_BT` it trains on these and not on its own choice. `share` and `start` may shard."""
    AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001 - of another device, else kept for ever
    exp = build_experiment(SHAPE, device, *words)
    world = start(exp)
    trainer = KeepingTrainer(exp, share(small_pair(device)), world)
    rollout = SHAPE.make_rollout(trainer.pair.rows, device)
    own_BT, loss = take_step(trainer, rollout, weights_BT)
    return Step(loss, trainer.gradient, own_BT)


def small_pair(device: torch.device) -> LoadedPair:
    """In fp32, with the same weights on any device."""
    roles = ("teacher", "student")
    pair = make_pair(
        {role: small_config(role, layers=2) for role in roles},
        dict.fromkeys(roles, torch.float32),
        torch.device("cpu"),
    )
    for model in (pair.teacher, pair.student):
        model.to(device)  # type: ignore[arg-type] # transformers types its first argument as a module
    return pair


def take_step(trainer: Trainer, rollout: Rollout, weights_BT: Tensor | None) -> tuple[Tensor, float]:
    """The step's own choice of tokens, and the loss of what was trained on."""
    scored, stats = trainer.score(rollout, trainer.exp.selector.needs)
    on_cpu = TokenStats(**{name: values_BT.cpu() for name, values_BT in stats.computed().items()})
    own_BT = trainer.exp.selector(on_cpu, rollout.valid_BT.cpu(), Noise(0, 1).substream("select"))
    used_BT = own_BT if weights_BT is None else weights_BT
    return own_BT, trainer.update(rollout, scored, used_BT, float(used_BT.sum())).loss


def compare_steps(step: Step, right: Step) -> tuple[float, float, float, float]:
    """Relative errors of loss, gradient and its length, and the share of kept tokens that are others."""
    along = (step.gradient * right.gradient).sum() / (right.gradient * right.gradient).sum()
    kept_BT, right_BT = step.weights_BT > 0, right.weights_BT > 0
    return (
        abs(step.loss / right.loss - 1),
        ((step.gradient - right.gradient).norm() / right.gradient.norm()).item(),
        abs(along.item() - 1),
        ((right_BT & ~kept_BT).sum() / right_BT.sum()).item(),
    )
