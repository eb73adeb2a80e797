"""Models, token ids and caches that have shapes but no data. To be called inside a `FakeTensorMode`."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tipx.errors import ModelError
from tipx.files.untrusted import RAISED, brings_code, error_text
from tipx.memory.tracker import Tracker

UNMASKED = "tipx_unmasked"
"""sdpa for batches without padding. transformers makes no mask for those, but has to look at the data to know."""
AttentionInterface.register(UNMASKED, sdpa_attention_forward)


def fake_model(config: PretrainedConfig, dtype: str) -> PreTrainedModel:
    """The real modules, in eval mode as tipx has them."""
    try:
        made = AutoModelForCausalLM.from_config(
            config,
            dtype=getattr(torch, dtype),
            attn_implementation="sdpa",
            trust_remote_code=brings_code(config),
        )
    except RAISED as error:
        raise ModelError(
            f"model: no {type(config).__name__} can be made to trace its memory ({error_text(error)}); see its "
            "config.json"
        ) from error
    evaluated: PreTrainedModel = made.eval()
    return evaluated


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
            setattr(layer, name, old.new_empty(*old.shape[:-2], length, old.shape[-1]))
        tracker.tag([layer.keys, layer.values], "cache")
