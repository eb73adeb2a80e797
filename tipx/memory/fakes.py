"""Models, token ids and caches that have shapes but no data. To be called inside a `FakeTensorMode`."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from transformers import AttentionInterface, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tipx.errors import ModelError
from tipx.files.untrusted import RAISED, brings_code, error_text
from tipx.memory.tracker import Tracker
from tipx.models.lora import LoRA, add_adapter
from tipx.rollout.cache import SHORT, RoomyLayer
from tipx.vocab import fold
from tipx.vocab.compiled import run_compiled
from tipx.vocab.fold import OnlineSums
from tipx.vocab.vocab_pass import Tiles

UNMASKED = "tipx_unmasked"
"""sdpa for batches without padding. transformers makes no mask for those, but has to look at the data to know."""
AttentionInterface.register(UNMASKED, sdpa_attention_forward)


def fake_model(config: PretrainedConfig, dtype: str, lora: LoRA | None = None) -> PreTrainedModel:
    """The real modules, in eval mode as tipx has them, with adapters if there are any. Raises ModelError."""
    # peft moves what it made to a device, which a tensor without data cannot do; one on meta can.
    outside = nullcontext() if lora is None else unset_fake_temporarily()
    try:
        with outside:
            with torch.device("cpu" if lora is None else "meta"):
                made = AutoModelForCausalLM.from_config(
                    config,
                    dtype=getattr(torch, dtype),
                    attn_implementation="sdpa",
                    trust_remote_code=brings_code(config),
                )
            if lora is not None:
                add_adapter(made, lora, "model.student.lora")
    except RAISED as error:
        raise ModelError(
            f"model: no {type(config).__name__} can be made to trace its memory ({error_text(error)}); see its "
            "config.json"
        ) from error
    if lora is not None:
        replace_storages(made)
    evaluated: PreTrainedModel = made.eval()
    return evaluated


def replace_storages(model: nn.Module) -> None:
    """Give the model tensors of its shapes and types that are made here. Those that are one stay one."""
    made = dict[int, Any]()
    for module in model.modules():
        for own in module._parameters, module._buffers:  # noqa: SLF001 - a module's attributes are these
            for name, old in own.items():
                if old is not None and id(old) not in made:
                    new = torch.empty(old.shape, dtype=old.dtype)
                    is_weight = isinstance(old, nn.Parameter)
                    made[id(old)] = old, nn.Parameter(new, requires_grad=old.requires_grad) if is_weight else new
                if old is not None:
                    own[name] = made[id(old)][1]


def pad_vocabulary(of: PreTrainedModel, rows: int) -> PreTrainedModel:
    """The model, told whether its batches hold padding: one sequence alone has none, of several the lengths differ."""
    of.set_attn_implementation("sdpa" if rows > 1 else UNMASKED)
    return of


def iterate_storages(of: PreTrainedModel) -> Iterator[Tensor]:
    """What holds a model's memory."""
    yield from of.parameters()
    yield from of.buffers()


def fake_ids(rows: int, length: int) -> Tensor:
    return torch.zeros(rows, length, dtype=torch.long)


def grow_cache(cache: Any, length: int, tracker: Tracker) -> None:
    """A key-value cache as it is after `length` tokens, in the dtypes that it began with."""
    if cache is None:
        raise ModelError("model: it keeps no keys and values of what it has read: is it made to generate?")
    for layer in cache.layers:
        for name in ("keys", "values"):
            old = getattr(layer, name)
            roomy = isinstance(layer, RoomyLayer) and length >= SHORT
            room = old.new_empty(*old.shape[:-2], length + (length // 8 if roomy else 0), old.shape[-1])
            states = room[:, :, :length]
            if roomy:
                layer.rooms[name] = room, states
            setattr(layer, name, states)
        tracker.tag([layer.keys, layer.values], "cache")


def run_fake(function: Callable[..., Any], student_NC: Tensor, *rest: Any) -> Any:
    """Stands for a compiled kernel: reads and writes what it does, makes no temporary, and computes nothing."""
    if function is fold.write_tile_gradient:
        return torch.add(student_NC, rest[0], out=rest[-1])
    student = OnlineSums(*(student_NC.sum(-1),) * 4)
    if function is fold.fold_one_model:
        return student
    teacher = OnlineSums(*(rest[0].sum(-1),) * 4)
    return (student, teacher) if function is fold.fold_both_models else (student.z_N, teacher.z_N)


def replace_kernels(tiles: Tiles) -> Tiles:
    """The tiles with kernels that fake tensors can run."""
    return replace(tiles, run=run_fake) if tiles.run is run_compiled else tiles
