"""Removes layers from a model. Distillation then repairs the pruned student."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from torch import nn
from transformers import PreTrainedModel

from tipx.errors import ModelError
from tipx.spec import Whole


def check_layer_range(text: str) -> str:
    """The text. Raises PydanticCustomError unless it is a range of layers such as 0-13."""
    if not re.fullmatch(r"[0-9]{1,5}-[0-9]{1,5}", text):
        raise PydanticCustomError("layer_range", "Input should be a range below 100000, as 0-13")
    return text


LayerRange = Annotated[str, AfterValidator(check_layer_range)]
Layers = Annotated[list[Annotated[Whole, Field(le=99_999)] | LayerRange], Field(max_length=10_000)]
"""Layer numbers from 0, and ranges that include both ends, as in [0-13, 20-29]."""


def select_layers(keep: Layers, count: int, key: str) -> list[int]:
    """The layer numbers that `keep` names, of `count` layers. Raises ModelError unless they ascend and exist."""
    ranges = [(part, part) if isinstance(part, int) else tuple(map(int, part.split("-"))) for part in keep]
    ends = [end for first, last in ranges for end in (first, last + 1)]
    shown, remedy = f"{key}=[{','.join(map(str, keep))}]", f"type e.g. {key}=[0-{count - 1}]"
    if not ranges or any(first > last for first, last in ranges) or ends != sorted(ends):
        raise ModelError(f"{shown}: expected layers in ascending order, each once; {remedy}")
    if ends[-1] > count:
        raise ModelError(f"{shown}: the model has layers 0 to {count - 1}, not {ends[-1] - 1}; {remedy}")
    return [layer for first, last in ranges for layer in range(first, last + 1)]


def keep_layers(model: PreTrainedModel, keep: Layers, key: str) -> None:
    """Remove all other layers than `keep`, from the model and from its configuration. Raises ModelError.

    Afterwards the configuration describes the pruned model: it generates with a cache, saves and loads like any other.
    """
    config = model.config.get_text_config()
    count = config.num_hidden_layers
    numbers = select_layers(keep, count, key)
    stack, name = find_layers(model, count, key)
    setattr(stack, name, nn.ModuleList([getattr(stack, name)[i] for i in numbers]))
    for new_number, layer in enumerate(getattr(stack, name)):
        for module in layer.modules():
            # layer_idx is the layer's slot in the KV cache.
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = new_number
    for field, value in find_layer_settings(config.to_dict(), count).items():
        setattr(config, field, [value[i] for i in numbers])
    config.num_hidden_layers = len(numbers)
    check_rebuilt_config(model, key)


def find_layers(model: PreTrainedModel, count: int, key: str) -> tuple[nn.Module, str]:
    """The module that holds the list of layers, and the name of the list in it."""
    lists = [n for n, m in model.base_model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    outer = [n for n in lists if not any(n.startswith(f"{other}.") for other in lists)]
    if len(outer) != 1:
        raise ModelError(
            f"{key}: cannot tell which modules of a {type(model).__name__} are its {count} layers; type {key}=null"
        )
    owner, _, name = outer[0].rpartition(".")
    return model.base_model.get_submodule(owner), name


def find_layer_settings(config: dict[str, Any], count: int) -> dict[str, Sequence[Any]]:
    """The settings that hold a value for each layer, such as `layer_types`."""
    return {k: v for k, v in config.items() if "layer" in k and isinstance(v, list | tuple) and len(v) == count}


def check_rebuilt_config(model: PreTrainedModel, key: str) -> None:
    """Raises ModelError unless the configuration alone makes a model with weights of the same names and shapes.

    Some architectures choose a layer's kind by its number. Their configuration would then describe another model.
    """
    with torch.device("meta"):
        rebuilt = type(model)(type(model.config).from_dict(model.config.to_dict()))
    pruned_shapes, rebuilt_shapes = ({n: v.shape for n, v in m.state_dict().items()} for m in (model, rebuilt))
    if pruned_shapes != rebuilt_shapes:
        names = pruned_shapes.keys() | rebuilt_shapes.keys()
        example = min(n for n in names if pruned_shapes.get(n) != rebuilt_shapes.get(n))
        raise ModelError(
            f"{key}: the layers of a {type(model).__name__} differ by their number ({example}), so none can be "
            f"removed; type {key}=null"
        )
