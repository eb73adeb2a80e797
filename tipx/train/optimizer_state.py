"""The optimizer's state in a checkpoint: one file a process, which any number of processes can read.

PyTorch's distributed checkpoints (DCP) keep each tensor by its parameter's name, in pieces. So a checkpoint of one
process, of ddp, or of fsdp on n processes goes on as any other of these.
"""

from pathlib import Path
from typing import Any

from torch.distributed import get_world_size
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer
from transformers import PreTrainedModel

BY_NAME = StateDictOptions(flatten_optimizer_state_dict=True)
KEY = "optimizer"


def plain_optimizer(optimizer: Any) -> Optimizer:
    """torch's own optimizer, which accelerate wraps where it prepared it."""
    return getattr(optimizer, "optimizer", optimizer)


def save_shards(model: PreTrainedModel, optimizer: Optimizer, folder: Path) -> None:
    """Write every process's part; all must call it. An error of one is raised by all."""
    state = get_optimizer_state_dict(model, optimizer, options=BY_NAME)
    try:
        save({KEY: state}, checkpoint_id=folder)
    except CheckpointException as error:
        raise first_failure(error) from None


def load_shards(model: PreTrainedModel, optimizer: Any, folder: Path) -> None:
    """Read what this process needs of what `save_shards` wrote; all must call it."""
    plain = plain_optimizer(optimizer)
    state = get_optimizer_state_dict(model, plain, options=BY_NAME)  # its tensors say what is needed, and take it
    try:
        load({KEY: state}, checkpoint_id=folder)
    except CheckpointException as error:
        raise first_failure(error) from None
    set_optimizer_state_dict(model, plain, state, options=BY_NAME)


def load_whole_state(model: PreTrainedModel, optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Share out the state of an optimizer that was whole. It is by the parameters' places, DCP's by their names."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    order = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    groups = [group | {"params": [order[place] for place in group["params"]]} for group in state["param_groups"]]
    named: dict[str, Any] = {
        "state": {order[place]: value for place, value in state["state"].items()},
        "param_groups": groups,
    }
    set_optimizer_state_dict(model, optimizer, named, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def first_failure(error: CheckpointException) -> BaseException:
    """What the first process met that failed; of the disk's refusal, which all are told, whose it was."""
    rank, (cause, _) = min(error.failures.items())
    if isinstance(cause, OSError) and cause.errno is not None:
        return OSError(cause.errno, f"{cause.strerror} (process {rank + 1} of {get_world_size()})")
    return cause
