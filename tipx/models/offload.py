"""A model whose body is on the device only while it works."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

OnDevice = Callable[[], AbstractContextManager[None]]


def park_on_cpu(model: PreTrainedModel, device: torch.device) -> OnDevice:
    """Keeps the weights on the CPU, and returns a context in which copies of them are on `device`.

    The LM head, which reads hidden states at any time, and buffers move there for good. The weights must not change:
    the copies are dropped, never written back.
    """
    head = model.get_output_embeddings()
    if head is not None:
        head.to(device)
    for buffer in model.buffers():
        buffer.data = buffer.to(device)
    stay = set() if head is None else {id(p) for p in head.parameters()}
    parked = [(p, copy_to_cpu(p.data, device)) for p in model.parameters() if id(p) not in stay]
    for weight, home in parked:
        weight.data = home

    @contextmanager
    def awake() -> Iterator[None]:
        for weight, home in parked:
            weight.data = home.to(device, non_blocking=True, copy=True)
        try:
            yield
        finally:
            for weight, home in parked:
                weight.data = home

    return awake


def copy_to_cpu(value: Tensor, device: torch.device) -> Tensor:
    """On the CPU, in memory from which an accelerator copies fast."""
    home = value.to("cpu")
    return home.pin_memory() if device.type == "cuda" else home
