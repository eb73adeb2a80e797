"""Models, token ids and caches that have shapes but no data. To be called inside a `FakeTensorMode`."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tipx.divergences import TokenDivergence
from tipx.errors import ModelError
from tipx.files.untrusted import RAISED, brings_code, error_text
from tipx.memory.tracker import Tracker
from tipx.rollout.cache import SHORT, RoomyLayer
from tipx.vocab.compiled import Eager
from tipx.vocab.fold import GradientInputs, OnlineSums
from tipx.vocab.vocab_pass import Tiles

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
            roomy = isinstance(layer, RoomyLayer) and length >= SHORT
            room = old.new_empty(*old.shape[:-2], length + (length // 8 if roomy else 0), old.shape[-1])
            states = room[:, :, :length]
            if roomy:
                layer.rooms[name] = room, states
            setattr(layer, name, states)
        tracker.tag([layer.keys, layer.values], "cache")


class FakeKernels(Eager):
    """Stand for compiled kernels: they read and write what these do, make no temporary, and compute nothing."""

    fused = True

    def fold_one_model(self, logits_NC: Tensor, sums: OnlineSums) -> OnlineSums:
        return OnlineSums(*(logits_NC.sum(-1),) * 4)

    def fold_both_models(
        self, student_NC: Tensor, teacher_NC: Tensor, student_sums: OnlineSums, teacher_sums: OnlineSums
    ) -> tuple[OnlineSums, OnlineSums]:
        return self.fold_one_model(student_NC, student_sums), self.fold_one_model(teacher_NC, teacher_sums)

    def sum_divergence(
        self, student_NC: Tensor, teacher_NC: Tensor, lse_NN: tuple[Tensor, Tensor], divergence: TokenDivergence
    ) -> tuple[Tensor, Tensor]:
        return student_NC.sum(-1), teacher_NC.sum(-1)

    def compute_tile_gradient(
        self,
        student_NC: Tensor,
        teacher_NC: Tensor,
        inputs: GradientInputs,
        divergence: TokenDivergence,
        scale: float,
        softcap: float | None,
        out_NC: Tensor,
    ) -> None:
        torch.add(student_NC, teacher_NC, out=out_NC)


def replace_kernels(tiles: Tiles) -> Tiles:
    """The tiles with kernels that fake tensors can run."""
    return replace(tiles, kernels=FakeKernels()) if tiles.kernels.fused else tiles
