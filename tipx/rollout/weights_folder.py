"""A student's weights in a folder, for an engine that is another process."""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from tipx.adapters import merged_weights

FILES = "model-*.safetensors"
SHARD = 2 * 2**30
"""Bytes of one file, about: what is in memory a second time while it is written."""


def write_weights(model: PreTrainedModel, folder: Path, dtype: str) -> None:
    """Write every entry of the state dict to safetensors files in `folder`, floating-point numbers as `dtype`.

    A tied LM head is written too. `save_pretrained` leaves it out, and vLLM then keeps the head that it has.
    """
    for number, shard in enumerate(split_shards(model, getattr(torch, dtype))):
        save_file(shard, folder / f"model-{number:05d}.safetensors", {"format": "pt"})


def split_shards(model: PreTrainedModel, dtype: torch.dtype) -> Iterator[dict[str, Tensor]]:
    """The state dict on the CPU, adapters merged, in parts of about `SHARD` bytes."""
    shard, size = dict[str, Tensor](), 0
    for name, value in merged_weights(model):
        shard[name] = value.to("cpu", dtype if value.is_floating_point() else None, copy=True).contiguous()
        size += shard[name].nbytes
        if size >= SHARD:
            yield shard
            shard, size = {}, 0
    if shard:
        yield shard
