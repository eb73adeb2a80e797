"""A causal language model in two parts: a backbone that gives hidden states, and an LM head that makes logits of them.

tipx runs the two parts separately, so that it never makes all logits. `check_head` tests that the parts together give
the model's own logits. `check_generation` tests that padding does not change the logits.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from tipx.errors import ModelError
from tipx.files.untrusted import RAISED, error_text
from tipx.sharding import class_name, compute_device, run_inside
from tipx.vocab import Head

SHORT_PROMPT = [1, 2, 3, 4]
PADDING = 12
"""Padding tokens before the short prompt: a multiple of its length."""
READS_PADDING = 0.1
"""A model reads padding if it moves the logits by this share of their norm around the mean.

Rounding moves them by a thousandth, bfloat16 by a hundredth.
"""


def lm_head(model: PreTrainedModel, rows: int | None = None) -> Head:
    """The model's LM head, cut to its first `rows` rows."""
    layer = model.get_output_embeddings()
    if not isinstance(layer, nn.Linear):
        raise ModelError(f"model: {class_name(model)} has no linear LM head, which tipx needs")
    bias_V = None if layer.bias is None else layer.bias[:rows]
    config = model.config.get_text_config()
    # Cohere multiplies its logits, Granite divides them, Gemma 2 caps them. `check_head` finds any other change.
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    return Head(layer.weight[:rows], bias_V, scale, getattr(config, "final_logit_softcapping", None))


def backbone(model: PreTrainedModel) -> nn.Module:
    """The model without its LM head, from token ids to last hidden states. Raises ModelError if it has no such part."""
    inner: nn.Module = model.base_model
    if inner is not model:
        return inner
    # Llama 4's text model has a base_model_prefix that names a missing part.
    parts = [part for part in model.children() if isinstance(part, PreTrainedModel)]
    if len(parts) != 1:
        raise ModelError(f"model: {class_name(model)} has no part of its own that ends at the hidden states")
    return parts[0]


@contextmanager
def gradient_checkpointing(model: PreTrainedModel, on: bool) -> Iterator[None]:  # noqa: FBT001 - a yes/no is the whole argument
    """Inside, layers keep only their inputs for the backward pass and compute their activations again.

    transformers does this for layers in training mode. Only the layer itself is set to that mode, not its parts, so no
    dropout starts. Afterwards everything is as before, because `generate` needs a cache and checkpointing excludes it.
    """
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)] if on else []
    # transformers called it gradient checkpointing before 5.23, and deprecates that name since.
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    if layers:
        getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
    try:
        for layer in layers:
            layer.training = True
        yield
    finally:
        for layer in layers:
            layer.training = False
        if layers:
            getattr(model, f"{kind}_checkpointing_disable")()


@contextmanager
def translate_forward_errors(
    role: str,
    model: PreTrainedModel,
    why: str = "its config.json does not fit its weights, or transformers cannot run such a model; fetch it again",
) -> Iterator[None]:
    """Inside, an error of a forward pass becomes a ModelError of one line.

    Weights that do not fit their configuration may fail only in the first forward pass.
    """
    try:
        yield
    except torch.OutOfMemoryError:  # not the fault of the model
        raise
    except RAISED as error:
        raise ModelError(f"model.{role}: {class_name(model)} cannot run ({error_text(error)}); {why}") from error


@torch.no_grad()
def check_logits(role: str, model: PreTrainedModel, ids: Sequence[int]) -> None:
    """Raises ModelError if the logits after `ids` are not numbers. Rows that pad the vocabulary may be -inf."""
    with translate_forward_errors(role, model):
        logits_NV = model(input_ids=torch.tensor([list(ids)], device=compute_device(model))).logits[0]
    if logits_NV.isnan().any() or logits_NV.isposinf().any() or not logits_NV.isfinite().any(-1).all():
        raise non_finite_error(role, model)


def non_finite_error(role: str, model: PreTrainedModel) -> ModelError:
    return ModelError(
        f"model.{role}: {class_name(model)} gives logits that are not numbers; its weights are damaged, or do "
        f"not fit model.{role}.dtype={str(model.dtype).removeprefix('torch.')}"
    )


@torch.no_grad()
def check_generation(role: str, model: PreTrainedModel, pad: int) -> None:
    """Raises ModelError unless `generate` runs, and gives a prompt the same logits with and without padding before it.

    A recurrent model may read padding as text. A response would then depend on the other prompts of the batch.
    """
    settings = GenerationConfig(
        max_new_tokens=2, do_sample=False, pad_token_id=pad, output_logits=True, return_dict_in_generate=True
    )
    padded_L = torch.tensor([pad] * PADDING + SHORT_PROMPT, device=compute_device(model))
    ids_2L = torch.stack(
        [padded_L, torch.tensor(SHORT_PROMPT * (1 + PADDING // len(SHORT_PROMPT)), device=compute_device(model))]
    )
    mask_2L = torch.ones_like(ids_2L)
    mask_2L[0, :PADDING] = 0
    saved, model.generation_config = model.generation_config, GenerationConfig()
    try:
        with translate_forward_errors(role, model, "transformers' generate cannot use it"):
            alone_V, beside_V = (
                model.generate(  # type: ignore[operator]
                    input_ids=ids_RL, attention_mask=mask_RL, generation_config=settings, synced_gpus=False
                ).logits[0][0]
                for ids_RL, mask_RL in ((ids_2L[:1, PADDING:], mask_2L[:1, PADDING:]), (ids_2L, mask_2L))
            )
    finally:
        model.generation_config = saved
    centred_V = alone_V.float() - alone_V.float().mean()
    if (beside_V.float() - alone_V.float()).norm() > READS_PADDING * centred_V.norm():
        raise ModelError(
            f"model.{role}: {class_name(model)} reads padding as text: the same prompt gives other logits beside a "
            "longer one; tipx samples prompts in batches, so it is refused"
        )


@torch.no_grad()
def check_head(role: str, model: PreTrainedModel) -> None:
    """Raises ModelError unless the backbone and `lm_head` together give the model's own logits."""
    ids = torch.tensor([[1, 2, 3, 4]], device=compute_device(model))
    with translate_forward_errors(role, model):
        expected_NV = model(input_ids=ids).logits[0].float().log_softmax(-1)

        def own_log_probs() -> Tensor:
            hidden_ND = backbone(model)(input_ids=ids, use_cache=False).last_hidden_state[0]
            return lm_head(model).log_probs(hidden_ND)

        own_NV = run_inside(model, own_log_probs)
    if expected_NV.isnan().any():
        raise non_finite_error(role, model)
    if not torch.allclose(own_NV, expected_NV, atol=1e-2, rtol=1e-2):
        raise ModelError(
            f"model.{role}: {class_name(model)} changes its logits after the LM head in a way tipx does not know; "
            "its distribution would be wrong, so it is refused"
        )
