"""Models whose weights are shared out over processes by PyTorch's FSDP2, and how to work with such a model.

Each layer is a group of its own, and so is an untied embedding. The root's group has the rest: the last norm, the LM
head, a tied embedding. A group is whole while it computes; the root's stays whole after a forward pass, because the
loss is made of its head. `run_inside` and `whole_weights` also take a model that is not sharded, and do nothing more.

Three laws. Every process calls `run_inside` as often as the others. What must be differentiated is returned by it as a
tensor, or in a tuple or dict of tensors. Nobody keeps a student's `Head` after it: its weights may be gone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from tipx.adapters import base_name, is_adapted
from tipx.errors import ModelError

T = TypeVar("T")


@dataclass(frozen=True)
class Sharding:
    """How the weights of a run's models are shared out.

    `mesh` is (shard), or (replicate, shard) with copies on several nodes. `dtype` is what whole groups are in, None
    for the weights' own. `reshard` frees a layer after its forward pass and gathers it again for the backward pass.
    `offload` keeps the student's shards, their gradients and the optimizer's state on the CPU.
    """

    mesh: DeviceMesh
    dtype: torch.dtype | None
    reshard: bool
    offload: bool

    def shard(self, model: PreTrainedModel, *, offload: bool) -> None:
        """Share out the weights, in place. Adapters must be there already: later ones would get no common gradient."""
        reduce = None if self.dtype is None else torch.float32
        policy: OffloadPolicy = (
            CPUOffloadPolicy(pin_memory=self.mesh.device_type == "cuda") if offload else OffloadPolicy()
        )
        divide = partial(
            fully_shard, mesh=self.mesh, mp_policy=MixedPrecisionPolicy(self.dtype, reduce), offload_policy=policy
        )
        for part in find_groups(model):
            divide(part, reshard_after_forward=self.reshard)
        divide(model, reshard_after_forward=False)
        model.reshards_layers = self.reshard  # type: ignore[assignment]
        if self.mesh.device_type != "cpu":
            model.compute_device = torch.device(self.mesh.device_type, torch.accelerator.current_device_index())  # type: ignore[assignment]
        model.run_inside = MethodType(lambda _, work: work(), model)  # type: ignore[assignment]
        register_fsdp_forward_method(model, "run_inside")


def find_groups(model: PreTrainedModel) -> list[nn.Module]:
    """The parts of a model that become groups of their own; what is left is the root's. Raises ModelError."""
    groups: list[nn.Module] = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not groups:
        raise ModelError(
            f"hardware.strategy=fsdp: cannot tell which modules of a {type(model).__name__} are its layers; type "
            "hardware.strategy=ddp"
        )
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    # In one group with the head it would double the largest buffer of the reduction, V x D in fp32.
    if embedding is not None and (head is None or embedding.weight is not head.weight):
        groups.append(embedding)
    return groups


def is_sharded(model: nn.Module) -> bool:
    return isinstance(model, FSDPModule)


def compute_device(model: PreTrainedModel) -> torch.device:
    """Where the model runs. The shards of an offloaded one rest elsewhere."""
    device: torch.device = getattr(model, "compute_device", None) or model.device
    return device


def plain_class(model: nn.Module) -> type[nn.Module]:
    """The model's class. FSDP gives a sharded model a class of its own, which is made of this one."""
    return type(model).__bases__[1] if is_sharded(model) else type(model)


def class_name(model: nn.Module) -> str:
    """The name of the model's class, as its authors call it."""
    return plain_class(model).__name__


def run_inside(model: nn.Module, work: Callable[[], T]) -> T:
    """What `work` gives, run as a forward pass of the whole model: the root's weights are whole tensors in it."""
    return model.run_inside(work) if is_sharded(model) else work()  # type: ignore[operator]


@contextmanager
def whole_weights(model: nn.Module, *, wanted: bool = True) -> Iterator[None]:
    """Inside, all weights are whole, so that processes may work as much or as little as they like, without each other.

    It is for sampling: processes sample other numbers of tokens. A block in a block does nothing more.
    """
    if not (wanted and is_sharded(model)) or getattr(model, "weights_are_whole", False):
        yield
        return
    run_inside(model, lambda: None)  # the first forward pass decides which module is the root
    groups = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for group in groups:
        group.unshard()
        group.set_reshard_after_forward(False, recurse=False)
    model.weights_are_whole = True  # type: ignore[assignment]
    try:
        yield
    finally:
        model.weights_are_whole = False  # type: ignore[assignment]
        for group in groups:
            group.set_reshard_after_forward(group is not model and model.reshards_layers, recurse=False)  # type: ignore[arg-type]
            group.reshard()


def free_copies(model: nn.Module) -> None:
    """Free whole weights that a forward pass left behind; not to be called in `whole_weights`."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def whole_tensor(value: Tensor) -> Tensor:
    """The tensor of which this process has a shard; every process must ask for it."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def local_tensor(value: Tensor) -> Tensor:
    """This process's shard, or the tensor itself."""
    return value.to_local() if isinstance(value, DTensor) else value


def gather_weights(model: PreTrainedModel) -> dict[str, Tensor] | None:
    """A sharded model's whole weights on the CPU of the main process, nothing on others; None if it is not sharded.

    Every process must call it. One tensor at a time is gathered. A tied head is there once, by the embedding's name. Of
    a model with adapters these alone are gathered.
    """
    if not is_sharded(model):
        return None
    main, adapted = torch.distributed.get_rank() == 0, is_adapted(model)
    whole: dict[str, Tensor] = {}
    tied = set(model.all_tied_weights_keys)
    for name, value in model.state_dict().items():
        if name not in tied and (not adapted or base_name(name) is None):
            tensor = whole_tensor(value.detach())
            if main:
                whole[name] = tensor.cpu()
    return whole
