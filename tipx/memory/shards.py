"""Weights that are shared out over processes, on models without data: the buffers of FSDP2, as they come and go.

A group's weights are gathered into one flat buffer, then copied out of it into whole weights. The flat buffer of the
group before is kept until then, in forward passes. A backward pass gathers the next group while one computes, and puts
a group's whole gradients into one flat buffer, in fp32, which is kept until the next group's. So two groups are whole
at a time, beside the root's group.

The real modules compute with weights that are not counted (`Tracker.ignore`). What is counted is this process's
shards, and a buffer for each that FSDP2 would make.
"""

import math
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from tipx.memory.tracker import Tracker
from tipx.sharding import find_groups
from tipx.train.experiment import Experiment

LAYERS, FIRST_LAYER = " layers", "first layer"
"""What sections are called from the second layer of a forward pass on, and in the first layer of a backward pass. The
rest of a pass is a section of its own, so that the peak of each section is a straight line in layers."""


@dataclass(frozen=True)
class Sharing:
    """How weights are shared out over `size` processes. `dtype` is that of whole weights, None for their own.

    `reshard` frees a layer after its forward pass. `student_away` and `teacher_away` say whose shards rest on the CPU.
    """

    size: int
    dtype: torch.dtype | None
    reshard: bool
    student_away: bool
    teacher_away: bool


def find_sharing(exp: Experiment, processes: int) -> Sharing | None:
    """How a run on so many processes shares weights out; None if each has them whole. Raises ConfigError."""
    hardware = exp.hardware
    if hardware.strategy == "ddp":
        return None
    return Sharing(
        size=hardware.count_sharers(processes),
        dtype=hardware.choose_whole_dtype(exp.loop.precision),
        reshard=hardware.reshard_after_forward,
        student_away=hardware.cpu_offload,
        teacher_away=exp.model.teacher.offload == "cpu",
    )


def shard_shape(weight: Tensor, size: int) -> tuple[int, ...]:
    """Of the largest part, if `size` processes share the weight's rows. Each gets whole rows."""
    return math.ceil(weight.shape[0] / size), *weight.shape[1:]


@dataclass(eq=False)
class Group:
    """The weights that are gathered together: a layer's, an untied embedding's, or the root's."""

    module: nn.Module
    weights: list[nn.Parameter]
    shards: list[nn.Parameter]
    is_layer: bool
    flat: Tensor | None = None
    whole: Tensor | None = None
    in_backward: bool = False


@dataclass
class FakeShards:
    """A model's shards, and hooks on its modules that make and drop the buffers. `part` is what weights count as."""

    model: PreTrainedModel
    sharing: Sharing
    part: str
    tracker: Tracker
    away: bool
    groups: list[Group] = field(default_factory=list)
    order: list[Group] = field(default_factory=list)
    last_flat: Tensor | None = None
    reduced: Tensor | None = None
    stay: bool = False

    def __post_init__(self) -> None:
        """Shards in the weights' types, and whole weights, which are not counted, in the type of the computation."""
        seen = set[int]()
        for module in (*find_groups(self.model), self.model):
            weights = [weight for weight in module.parameters() if id(weight) not in seen]
            seen |= {id(weight) for weight in weights}
            shards = [self.make_shard(weight) for weight in weights]
            is_layer = isinstance(module, GradientCheckpointingLayer)
            self.groups.append(Group(module, weights, shards, is_layer))
            if module is not self.model:
                module.register_forward_pre_hook(partial(self.before_forward, self.groups[-1]))
                module.register_forward_hook(partial(self.after_forward, self.groups[-1]))
        for group in self.groups:
            for weight in group.weights:
                if self.sharing.dtype is not None:
                    weight.data = torch.empty_like(weight, dtype=self.sharing.dtype)
                self.tracker.tag([weight], self.part)
            self.tracker.ignore(weight.data for weight in group.weights)
            self.tracker.tag(group.shards, self.rests_as(self.part))

    def rests_as(self, part: str) -> str:
        """What a tensor counts as that stays with the shards."""
        return f"{self.part} on the CPU" if self.away else part

    @property
    def root(self) -> Group:
        return self.groups[-1]

    def make_shard(self, weight: nn.Parameter) -> nn.Parameter:
        shape = shard_shape(weight, self.sharing.size)
        return nn.Parameter(torch.empty(shape, dtype=weight.dtype), requires_grad=weight.requires_grad)

    def trained_shards(self) -> list[nn.Parameter]:
        """What the optimizer gets."""
        return [shard for group in self.groups for shard in group.shards if shard.requires_grad]

    def allocate(self, weights: list[nn.Parameter], dtype: torch.dtype | None, part: str) -> Tensor:
        """A flat buffer of these weights, with the padding that makes all shards equal; None is their own type."""
        counts = [self.sharing.size * math.prod(shard_shape(weight, self.sharing.size)) for weight in weights]
        sizes = [(dtype or weight.dtype).itemsize for weight in weights]
        made = torch.empty(sum(map(operator.mul, counts, sizes)), dtype=torch.uint8)
        self.tracker.tag([made], part)
        return made

    def fetch(self, group: Group) -> None:
        """Gather a group into a flat buffer, unless it is there."""
        if group.whole is None and group.flat is None:
            group.flat = self.allocate(group.weights, None, self.part)

    def gather(self, group: Group, *, forward: bool) -> None:
        """Make a group's weights whole."""
        self.fetch(group)
        if group.flat is None:
            return
        if forward:
            self.last_flat = None
        group.whole = self.allocate(group.weights, None, self.part)
        if forward:
            self.last_flat = group.flat
        group.flat = None

    @contextmanager
    def inside(self) -> Iterator[None]:
        """A forward pass of the whole model: the root's group is whole in it, and stays so afterwards."""
        self.order.clear()
        self.gather(self.root, forward=True)
        yield
        self.last_flat = None

    @contextmanager
    def all_whole(self) -> Iterator[None]:
        """All groups are whole inside, and gone afterwards."""
        for group in reversed(self.groups):
            self.gather(group, forward=False)
        self.stay = True
        yield
        self.stay = False
        for group in self.groups:
            group.whole = None

    def before_forward(self, group: Group, _module: nn.Module, _inputs: Any) -> None:
        if group.in_backward:  # activations are computed again
            return
        self.gather(group, forward=True)
        if any(before.is_layer for before in self.order) and not self.tracker.section.endswith(LAYERS):
            self.tracker.begin(self.tracker.section + LAYERS, "activations")

    def after_forward(self, group: Group, _module: nn.Module, _inputs: Any, out: Any) -> None:
        if group.in_backward or self.stay:
            return
        if self.sharing.reshard:
            group.whole = None
        self.order.append(group)
        states = out[0] if isinstance(out, tuple) else out
        if states.requires_grad:
            states.register_hook(partial(self.before_backward, group))

    def before_backward(self, group: Group, _gradient: Tensor) -> None:
        """What computed before this group is done."""
        for other in self.groups:
            if other.in_backward and other is not self.root:
                self.reduce(other)
        group.in_backward = True
        self.gather(group, forward=False)
        before = self.order[: self.order.index(group)]
        if group.is_layer and not any(other.is_layer for other in before):
            self.tracker.begin(FIRST_LAYER, "activations")
        if before:
            self.fetch(before[-1])

    def begin_backward(self) -> None:
        """The last group is gathered while the loss makes its gradient."""
        self.fetch(self.order[-1])

    def end_backward(self) -> None:
        """What is left is reduced: the root's group, and what has no input with a gradient."""
        for group in reversed(self.groups):
            self.reduce(group)
        self.reduced = None
        self.order.clear()

    def reduce(self, group: Group) -> None:
        """Whole gradients become this process's shards of their mean over processes."""
        group.in_backward, group.whole, group.flat = False, None, None
        pairs = [
            (weight, shard)
            for weight, shard in zip(group.weights, group.shards, strict=True)
            if weight.grad is not None
        ]
        self.reduced = None
        if not pairs:
            return
        dtype = None if self.sharing.dtype is None else torch.float32
        self.reduced = self.allocate([weight for weight, _ in pairs], dtype, "gradients")
        for weight, shard in pairs:
            weight.grad = None
            part = torch.empty(shard.shape, dtype=dtype or weight.dtype).to(shard.dtype)
            self.tracker.tag([part], self.rests_as("gradients"))
            if shard.grad is None:
                shard.grad = part
