"""Attention heads of a size that inference engines have kernels for."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3ForCausalLM

ENGINE_HEAD_SIZE = 32
"""Numbers of a head: the smallest that vLLM's attention takes."""


def widen_heads(model: Qwen3ForCausalLM, size: int = ENGINE_HEAD_SIZE) -> Qwen3ForCausalLM:
    """Return the same function with heads of at least `size` numbers: the old weights, and zeros between them.

    Three things depend on the size D of a head. Where it grows to D':

    - Rotary positions turn the pair (i, i + D/2) by the angle position * theta^(-2i/D). Zeros go behind each half of a
      head, and theta becomes theta^(D'/D): every old pair is turned as before.
    - The norms of queries and keys divide by the root of a mean over D numbers. With zeros that mean is less, and both
      come out sqrt(D'/D) times as long.
    - Attention divides logits by sqrt(D). With the line above they would be sqrt(D'/D) times too large, so k_norm's
      weights are multiplied by sqrt(D/D').

    `rms_norm_eps` is shared with the norms of hidden states and stays; beside a mean over D numbers it weighs D'/D
    times as much. A new weight meets nothing but other new ones: its gradient is zero, and it stays zero in training.
    Adam's steps have the same size for every weight, so k_norm's smaller ones move relatively more.
    """
    old = model.config.head_dim
    if old >= size:
        return model
    config = deepcopy(model.config)
    rope: Any = config.rope_parameters
    config.head_dim, rope["rope_theta"] = size, rope["rope_theta"] ** (size / old)
    with torch.random.fork_rng(devices=[]):  # the wide model's first weights are drawn, and overwritten
        wide = Qwen3ForCausalLM(config)
    wide.generation_config = deepcopy(model.generation_config)
    weights = model.state_dict()
    for name, weight in weights.items():
        if ".self_attn." in name:
            factor = (old / size) ** 0.5 if ".k_norm." in name else 1
            weights[name] = factor * pad_halves(weight, int(".o_proj." in name), old // 2, size // 2)
    wide.load_state_dict(weights)
    return wide.train(model.training)


def pad_halves(weight: Tensor, axis: int, old: int, new: int) -> Tensor:
    """Put `new - old` zeros behind every `old` entries along an axis."""
    halves = weight.unflatten(axis, (-1, old))
    zeros = halves.new_zeros(*halves.shape[: axis + 1], new - old, *halves.shape[axis + 2 :])
    return torch.cat([halves, zeros], axis + 1).flatten(axis, axis + 1)
