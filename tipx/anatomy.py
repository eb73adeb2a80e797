"""A causal language model in two parts: a body that gives hidden states, and an LM head that makes logits of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from tipx.errors import ModelError
from tipx.untrusted import RAISED, said
from tipx.vocab import Head


def lm_head(model: PreTrainedModel, rows: int | None = None) -> Head:
    """The model's LM head, cut to its first `rows` rows."""
    layer = model.get_output_embeddings()
    if not isinstance(layer, nn.Linear):
        raise ModelError(f"model: {type(model).__name__} has no linear LM head, which tipx needs")
    bias_V = None if layer.bias is None else layer.bias[:rows]
    config = model.config.get_text_config()
    # Cohere multiplies its logits, Granite divides them, Gemma 2 caps them; `check_head` finds what else there may be.
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    return Head(layer.weight[:rows], bias_V, scale, getattr(config, "final_logit_softcapping", None))


def body(model: PreTrainedModel) -> nn.Module:
    """The model without its LM head: token ids to last hidden states."""
    inner: nn.Module = model.base_model
    return inner


@contextmanager
def checkpointed(model: PreTrainedModel, on: bool) -> Iterator[None]:  # noqa: FBT001 - a yes/no is the whole argument
    """A context in which layers keep their inputs alone for the backward pass, and compute the rest again.

    transformers does so in layers that are in training mode; only the layer itself is put in it, so that no dropout
    starts. Outside nothing is changed: with it `generate` could not keep its cache.
    """
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)] if on else []
    if layers:
        model.activation_checkpointing_enable({"use_reentrant": False})
    try:
        for layer in layers:
            layer.training = True
        yield
    finally:
        for layer in layers:
            layer.training = False
        if layers:
            model.activation_checkpointing_disable()


@contextmanager
def running(role: str, model: PreTrainedModel) -> Iterator[None]:
    """Around a first forward pass: weights and settings that do not fit each other may show there, and are one line."""
    try:
        yield
    except torch.OutOfMemoryError:  # the device's, not the model's fault
        raise
    except RAISED as error:
        raise ModelError(
            f"model.{role}: {type(model).__name__} cannot run ({said(error)}); its config.json does not fit its "
            "weights: fetch or save the model again"
        ) from error


@torch.no_grad()
def check_logits(role: str, model: PreTrainedModel, ids: Sequence[int]) -> None:
    """Raises ModelError if the logits after `ids` are not numbers. Rows that pad the vocabulary may be at -inf."""
    with running(role, model):
        logits_NV = model(input_ids=torch.tensor([list(ids)], device=model.device)).logits[0]
    if logits_NV.isnan().any() or logits_NV.isposinf().any() or not logits_NV.isfinite().any(-1).all():
        raise no_numbers(role, model)


def no_numbers(role: str, model: PreTrainedModel) -> ModelError:
    return ModelError(
        f"model.{role}: {type(model).__name__} gives logits that are not numbers; its weights are damaged, or do "
        f"not fit model.{role}.dtype={str(model.dtype).removeprefix('torch.')}"
    )


@torch.no_grad()
def check_head(role: str, model: PreTrainedModel) -> None:
    """Raises ModelError if logits are not what `lm_head` makes of the hidden states: something tipx would miss."""
    ids = torch.tensor([[1, 2, 3, 4]], device=model.device)
    with running(role, model):
        hidden_ND = body(model)(input_ids=ids, use_cache=False).last_hidden_state[0]
        expected_NV = model(input_ids=ids).logits[0].float().log_softmax(-1)
    if expected_NV.isnan().any():
        raise no_numbers(role, model)
    if not torch.allclose(lm_head(model).log_probs(hidden_ND), expected_NV, atol=1e-2, rtol=1e-2):
        raise ModelError(
            f"model.{role}: {type(model).__name__} changes its logits after the LM head in a way tipx does not know; "
            "its distribution would be wrong, so it is refused"
        )
