"""What a model's cache can do: rows of it are dropped and repeated, and rows of two caches put together.

Axes: R rows of a batch, W positions of their texts, padding included.
"""

import inspect
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, GenerationMixin, PreTrainedModel, cache_utils
from transformers.cache_utils import (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

SHORT = 256
"""Positions up to which a copy of all costs no more than room does."""


class RoomyLayer(DynamicLayer):
    """Keys and values with room behind them, so that they are not copied for each new token.

    `DynamicLayer` makes a new tensor of all positions each time. Here most of them are written into what is there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rooms: dict[str, tuple[Tensor, Tensor]] = {}

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.keys, self.values = self.append("keys", key_states), self.append("values", value_states)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Any) -> None:
        self.rooms = {}  # what is selected is a copy, and the rooms would be kept beside it
        super().reorder_cache(beam_idx)

    def append(self, name: str, new: Tensor) -> Tensor:
        """The positions so far with new ones behind them: written into their room, if it is there and holds them."""
        old = getattr(self, name)
        used, width = old.shape[2], old.shape[2] + new.shape[2]
        if width <= SHORT:
            return torch.cat([old, new], 2)
        room, view = self.rooms.get(name, (old, None))
        if old is not view or width > room.shape[2]:  # rows were selected, or positions cut
            room = new.new_empty(*new.shape[:2], width + width // 8, new.shape[3])
            room[:, :, :used] = old
        room[:, :, used:width] = new
        self.rooms[name] = room, room[:, :, :width]
        return self.rooms[name][1]


JOINABLE = {DynamicLayer, RoomyLayer, getattr(cache_utils, "DummyLayer", DynamicLayer)}
"""Layers that hold a key and a value for each position, or nothing, as transformers has it from 5.23 on."""
SELECTABLE = JOINABLE | {
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
}
"""Layers whose rows `reorder_cache` drops and repeats, with all that they hold."""
PLAIN = {"bamba", "bloom", "falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h", "zamba", "zamba2"}
"""Architectures that prepare `generate`'s inputs by themselves, and for text as the others do."""
OWN = ("generate", "_sample", "_update_model_kwargs_for_generation")
"""Methods of `generate`; who has others has a way of its own to generate."""


@dataclass(frozen=True)
class Architecture:
    """What a model's forward pass takes, and what its cache can do."""

    model: PreTrainedModel

    @cached_property
    def takes(self) -> frozenset[str]:
        """The names of its arguments."""
        return frozenset(inspect.signature(self.model.forward).parameters)

    @cached_property
    def cache_name(self) -> str:
        return "cache_params" if "cache_params" in self.takes else "past_key_values"

    @cached_property
    def selectable(self) -> bool:
        """Whether rows of its cache can be dropped and repeated. Where not, `generate` samples.

        So it does for a model with a `generate` or inputs of its own (Phi-3 throws its cache away at some length), and
        for one whose cache is none of transformers' usual ones.
        """
        of: Any = type(self.model)
        if any(getattr(of, name) is not getattr(GenerationMixin, name) for name in OWN):
            return False
        prepares = of.prepare_inputs_for_generation is not GenerationMixin.prepare_inputs_for_generation
        if prepares and self.model.config.model_type not in PLAIN:
            return False
        if self.cache_name not in self.takes or not of._supports_default_dynamic_cache():  # noqa: SLF001
            return False
        return all(type(layer) in SELECTABLE for layer in self.make_cache().layers)

    @cached_property
    def joinable(self) -> bool:
        """Whether rows of other lengths can join a batch, and rows go on after more text.

        Their places are then others than those in the cache, and the model has to be told.
        """
        return "position_ids" in self.takes and all(type(layer) in JOINABLE for layer in self.make_cache().layers)

    def make_cache(self) -> DynamicCache:
        """An empty one: that of `generate`, with room."""
        cache = DynamicCache(config=self.model.config.get_text_config(decoder=True))
        cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
        return cache


def select_rows(cache: Any, index_R: Int[Tensor, " R"]) -> None:
    """Leaves these rows in a cache, in this order; some may be there several times."""
    cache.reorder_cache(index_R)


def copy_rows(cache: DynamicCache, index_R: Int[Tensor, " R"]) -> DynamicCache:
    """A cache of some rows of another, whose layers can be joined."""
    twin = copy(cache)
    twin.layers = [copy(layer) for layer in cache.layers]
    select_rows(twin, index_R)
    return twin


def cut_left(cache: DynamicCache, width: int) -> None:
    """Leaves the last `width` positions."""
    for layer in filled_layers(cache):
        layer.keys, layer.values = layer.keys[:, :, -width:], layer.values[:, :, -width:]


def reorder_positions(cache: DynamicCache, order_RW: Int[Tensor, "R W"]) -> None:
    """Leaves these positions of each row, in this order."""
    index_R1W1 = order_RW[:, None, :, None]
    for layer in filled_layers(cache):
        layer.keys, layer.values = (part.take_along_dim(index_R1W1, 2) for part in (layer.keys, layer.values))


def join_caches(caches: Sequence[DynamicCache]) -> DynamicCache:
    """The rows of all, in the first of them, padded on the left where they are shorter."""
    width = max(cache.get_seq_length() for cache in caches)
    for layers in zip(*map(filled_layers, caches), strict=True):
        for name in ("keys", "values"):
            parts = [getattr(layer, name) for layer in layers]
            setattr(layers[0], name, torch.cat([pad(part, (0, 0, width - part.shape[2], 0)) for part in parts]))
    return caches[0]


def filled_layers(cache: DynamicCache) -> list[Any]:
    """Those that hold keys and values."""
    return [layer for layer in cache.layers if isinstance(layer, DynamicLayer)]
