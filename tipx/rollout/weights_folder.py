"""A student's weights in a folder, for an engine that is another process."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from tipx.adapters import merged_weights
from tipx.sharding import is_sharded, plain_class, whole_tensor

FILES = "model-*.safetensors"
SHARD = 2 * 2**30
"""Bytes of one file, about: what is in memory a second time while it is written."""


def write_weights(model: PreTrainedModel, folder: Path, dtype: str) -> None:
    """Write every entry of the state dict to safetensors files in `folder`, floating-point numbers as `dtype`.

    A tied LM head is written too. `save_pretrained` leaves it out, and vLLM then keeps the head that it has.
    """
    for number, shard in enumerate(split_shards(model, getattr(torch, dtype))):
        save_file(shard, folder / f"model-{number:05d}.safetensors", {"format": "pt"})


def take_part(model: PreTrainedModel) -> None:
    """The part of a process in `write_weights` of another one: each has only shards of the weights."""
    if is_sharded(model):
        for _ in merged_weights(model, whole_tensor):
            pass


def split_shards(model: PreTrainedModel, dtype: torch.dtype) -> Iterator[dict[str, Tensor]]:
    """The state dict on the CPU, adapters merged, in parts of about `SHARD` bytes."""
    shard, size = dict[str, Tensor](), 0
    for name, value in merged_weights(model, whole_tensor):
        shard[name] = value.to("cpu", dtype if value.is_floating_point() else None, copy=True).contiguous()
        size += shard[name].nbytes
        if size >= SHARD:
            yield shard
            shard, size = {}, 0
    if shard:
        yield shard


def save_merged(model: PreTrainedModel, folder: Path) -> None:
    """Write a model folder in which the adapters, if there are any, are merged into the weights."""
    kind: Any = plain_class(model)
    with torch.device("meta"):
        plain = kind(deepcopy(model.config)).to(model.dtype)
    plain.generation_config = model.generation_config
    weights = {name: value.cpu() for name, value in merged_weights(model, whole_tensor)}
    plain.save_pretrained(folder, state_dict=weights)
