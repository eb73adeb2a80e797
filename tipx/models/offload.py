"""CPU offload: a model's weights are on the device only while the model runs."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

OnDevice = Callable[[], AbstractContextManager[None]]


def park_on_cpu(model: PreTrainedModel, device: torch.device) -> OnDevice:
    """Keep the weights on the CPU. Returns a context manager inside of which copies of them are on `device`.

    The LM head and the buffers move to `device` for good, because the head is used at any time. The weights must not
    change: the copies are dropped and never written back.
    """
    head = model.get_output_embeddings()
    if head is not None:
        head.to(device)
    for buffer in model.buffers():
        buffer.data = buffer.to(device)
    head_ids = set() if head is None else {id(p) for p in head.parameters()}
    parked = [(p, copy_to_cpu(p.data, device)) for p in model.parameters() if id(p) not in head_ids]
    for weight, home in parked:
        weight.data = home

    @contextmanager
    def on_device() -> Iterator[None]:
        for weight, home in parked:
            weight.data = home.to(device, non_blocking=True, copy=True)
        try:
            yield
        finally:
            for weight, home in parked:
                weight.data = home

    return on_device


def copy_to_cpu(value: Tensor, device: torch.device) -> Tensor:
    """A copy on the CPU, in pinned memory for CUDA, from which transfers are fast."""
    home = value.to("cpu")
    return home.pin_memory() if device.type == "cuda" else home
