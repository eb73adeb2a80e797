"""LoRA adapters in a model, as far as those need to know who read its weights. `models.lora` adds and saves them.

peft puts a module with three parts in the place of a linear layer: the layer itself (`base_layer`), which is frozen,
and two matrices that are trained, A of shape (r, in) and B of shape (out, r). Together they are a layer of the weight

    W + scaling B A        with scaling = lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

BASE_LAYER, OWN = "base_layer", ".lora_"
"""Parts of names: of what was there before, and of what an adapter adds."""
Gather = Callable[[Tensor], Tensor]
"""Makes a tensor whole that is shared out over processes."""


def is_adapted(model: nn.Module) -> bool:
    """Whether adapters are trained in place of the model's own weights."""
    return any(hasattr(module, "lora_A") for module in model.modules())


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes: the adapters', or all of them."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def base_name(name: str) -> str | None:
    """The name that a weight has without adapters. None if it is an adapter's own."""
    return None if OWN in name else name.replace(f".{BASE_LAYER}.", ".")


def keep_whole(tensor: Tensor) -> Tensor:
    """The tensor: it is whole."""
    return tensor


def merged_weights(model: nn.Module, gather: Gather = keep_whole) -> Iterator[tuple[str, Tensor]]:
    """Name and value of every entry of the state dict that the model would have without adapters, one after another.

    An adapter is added to its layer's weight on the way, and the model stays as it is: to add and subtract it in place
    would round a weight in bfloat16 a little further with every step. Every process has to take all entries, in this
    order, because `gather` may be work of all of them.
    """
    adapters = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    for name, value in model.state_dict().items():
        plain, owner = base_name(name), name.removesuffix(f".{BASE_LAYER}.weight")
        if plain is not None:
            whole = gather(value.detach())
            yield plain, add_adapter_product(whole, adapters[owner], gather) if owner in adapters else whole


@torch.no_grad()
def add_adapter_product(weight: Tensor, adapter: Any, gather: Gather) -> Tensor:
    """W + scaling B A: computed in fp32, also inside of autocast, and rounded once to the type of W."""
    total = weight.float()
    with torch.autocast(weight.device.type, enabled=False):
        for name, scaling in adapter.scaling.items():
            a, b = (gather(part[name].weight.detach()).float() for part in (adapter.lora_A, adapter.lora_B))
            product = b @ a * scaling
            # GPT-2 keeps its weights as (in, out).
            total = total + (product.T if adapter.fan_in_fan_out else product)
    return total.to(weight.dtype)
