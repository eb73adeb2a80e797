"""The step on small models of real architectures equals plain autograd on the model's own full logits.

Each has something of its own between tokens and logits: tied or untied heads, a bias, a scale, a soft cap, sliding
windows, learned positions. Trimming, packing, tiles and what scoring leaves for the loss are all in play.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from transformers import AutoModelForCausalLM as Auto
from transformers import (
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    Llama4TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from tipx.config import build, load
from tipx.embedded.arithmetic.tokenizer import build_tokenizer
from tipx.models.offload import park_on_cpu
from tipx.models.pair import LoadedPair
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout.collect import from_lists
from tipx.train.step_metrics import MONITORED, Update
from tipx.train.trainer import Trainer
from tipx.types import Rollout
from tipx.vocab import Vocab

Overrides = Callable[..., list[str]]
V, CPU = 41, torch.device("cpu")
SMALL: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS: dict[str, Callable[..., PreTrainedConfig]] = {
    "qwen2": lambda **more: Qwen2Config(**SMALL, tie_word_embeddings=True, **more),
    "qwen3": lambda **more: Qwen3Config(**SMALL, head_dim=8, tie_word_embeddings=False, **more),
    "llama": lambda **more: LlamaConfig(**SMALL, tie_word_embeddings=False, **more),
    "llama4": lambda **more: Llama4TextConfig(
        **SMALL, head_dim=8, intermediate_size_mlp=24, num_local_experts=2, **more
    ),
    "gemma2": lambda **more: Gemma2Config(
        **SMALL, head_dim=8, query_pre_attn_scalar=8, sliding_window=4, final_logit_softcapping=2.0, **more
    ),
    "cohere": lambda **more: CohereConfig(**SMALL, logit_scale=0.25, **more),
    "granite": lambda **more: GraniteConfig(**SMALL, logits_scaling=4.0, **more),
    "gpt2": lambda **more: GPT2Config(
        vocab_size=V, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2, **more
    ),
}
PROMPTS = [[3, 4, 5], [6], [7, 8, 9, 10, 11, 12], [5, 6]]
RESPONSES = [[13, 14, 2], [15, 16, 17, 18, 19, 20, 21], [22, 2], [23, 24, 25, 26, 2]]


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)


def make(name: str, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    model = Auto.from_config(CONFIGS[name](initializer_range=0.5)).double().eval()
    if name == "llama":
        # No family trains one, but a head may have a bias.
        model.lm_head.bias = torch.nn.Parameter(torch.randn(V, dtype=torch.float64))
    return model


def trainer(student: PreTrainedModel, teacher: PreTrainedModel, overrides: Overrides, *more: str) -> Trainer:
    exp = build(load(overrides("hardware.micro_batch=2", *more)))
    exp = replace(exp, vocab=Vocab(chunk=3, budget_mib=1, compile=False))
    pair = LoadedPair(teacher.requires_grad_(requires_grad=False), student, build_tokenizer(), V)
    return Trainer(exp, pair, exp.hardware.start("no"))


def rollout() -> Rollout:
    return from_lists(PROMPTS, RESPONSES, ["eos", "length", "eos", "eos"], CPU)


def weights(kind: str, made: Rollout) -> Tensor:
    """Soft weights on a few tokens: anywhere, or at the front only; the third sequence has none."""
    some_BT = torch.rand(made.valid_BT.shape, generator=torch.Generator().manual_seed(1))
    kept_BT = some_BT < 0.5 if kind == "scattered" else torch.arange(made.valid_BT.shape[1])[None] < 2
    weights_BT = (some_BT + 0.1) * (kept_BT & made.valid_BT)
    weights_BT[2] = 0
    return weights_BT


def gradients(one: Trainer, made: Rollout, weights_BT: Tensor) -> tuple[float, dict[str, Tensor]]:
    one._apply_gradients = lambda loss: Update(loss, 0.0, 0.0, True, 0, 1.0)  # type: ignore[method-assign]
    scored, _ = one.score(made, MONITORED)
    loss = one.update(made, scored, weights_BT, 3.0).loss
    found = {name: p.grad.clone() for name, p in one.pair.student.named_parameters() if p.grad is not None}
    one.pair.student.zero_grad()
    return loss, found


def plain(student: PreTrainedModel, teacher: PreTrainedModel, made: Rollout, weights_BT: Tensor) -> Tensor:
    """Reverse KL of full logits, one sequence at a time, weighted; divided by 3."""
    total = torch.zeros((), dtype=torch.float64)
    for b, n in enumerate(made.lengths):
        p = len(made.prompt_ids[b])
        ids = torch.tensor([[*made.prompt_ids[b], *made.response_BT[b, :n].tolist()]])
        s_TV, t_TV = (m(input_ids=ids).logits[0, p - 1 : p + n - 1].log_softmax(-1) for m in (student, teacher))
        total = total + (weights_BT[b, :n] * (s_TV.exp() * (s_TV - t_TV)).sum(-1)).sum()
    return total / 3.0


@pytest.mark.parametrize("kind", ["scattered", "front"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_is_that_of_plain_autograd(name: str, kind: str, overrides: Overrides) -> None:
    student, teacher = make(name, 0), make(name, 1)
    made = rollout()
    weights_BT = weights(kind, made)
    expected = plain(student, teacher, made, weights_BT)
    named = dict(student.named_parameters())
    wanted = dict(zip(named, torch.autograd.grad(expected, list(named.values())), strict=True))
    loss, found = gradients(trainer(student, teacher, overrides), made, weights_BT)
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert loss > 0.1
    assert found.keys() == wanted.keys()
    for key, value in found.items():  # some norms are fp32 in every model
        torch.testing.assert_close(value, wanted[key], rtol=1e-5, atol=1e-7, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("name", CONFIGS)
def test_checkpointing_and_offloading_change_no_gradient(name: str, overrides: Overrides) -> None:
    student, teacher, made = make(name, 0), make(name, 1), rollout()
    weights_BT = weights("scattered", made)
    wanted = gradients(trainer(student, teacher, overrides), made, weights_BT)
    one = trainer(student, teacher, overrides, "hardware.gradient_checkpointing=true")
    one.pair = replace(one.pair, teacher_on_device=park_on_cpu(teacher, CPU))
    assert not any(m.training for m in student.modules())
    loss, found = gradients(one, made, weights_BT)
    assert loss == wanted[0]
    assert all(torch.equal(value, wanted[1][key]) for key, value in found.items())
    assert not any(m.training for m in student.modules())


def test_checkpointing_keeps_fewer_activations(overrides: Overrides) -> None:
    # Kept for the backward pass inside a layer: queries, keys, gates... against its input alone.
    student, teacher, made = make("qwen3", 0), make("qwen3", 1), rollout()
    kept = {}
    for on in ("false", "true"):
        one = trainer(student, teacher, overrides, f"hardware.gradient_checkpointing={on}")
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, s=sizes: s.append(x.numel()) or x, lambda x: x):
            gradients(one, made, weights("scattered", made))
        kept[on] = sum(sizes)
    assert kept["true"] < 0.7 * kept["false"]


def test_the_update_runs_no_place_after_the_last_kept_token(overrides: Overrides) -> None:
    student, made = make("qwen3", 0), rollout()
    one = trainer(student, make("qwen3", 1), overrides)
    weights_BT = torch.zeros(made.valid_BT.shape)
    weights_BT[0, 0] = weights_BT[1, 3] = 1.0
    scored, _ = one.score(made, MONITORED)
    seen: list[tuple[int, ...]] = []
    hook = student.base_model.register_forward_pre_hook(
        lambda _m, _a, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    one.update(made, scored, weights_BT, 2.0)
    hook.remove()
    # Row 0: its prompt of 3; row 1: 1 + 3. Two sequences of the longest kind, 9 + ... hold both.
    assert seen == [(2, 4)]


def test_a_parked_teacher_is_at_home_but_while_it_works() -> None:
    # The device is the CPU here; what is on "the device" are copies all the same.
    teacher = make("qwen3", 1)
    home = {name: p.data_ptr() for name, p in teacher.named_parameters()}
    ids = torch.tensor([[3, 4, 5]])
    expected = teacher.base_model(input_ids=ids).last_hidden_state
    awake = park_on_cpu(teacher, CPU)
    assert {name: p.data_ptr() for name, p in teacher.named_parameters()} == home
    with awake():
        away = {name for name, p in teacher.named_parameters() if p.data_ptr() != home[name]}
        assert away == home.keys() - {"lm_head.weight"}
        assert torch.equal(teacher.base_model(input_ids=ids).last_hidden_state, expected)
    assert {name: p.data_ptr() for name, p in teacher.named_parameters()} == home
    with pytest.raises(ZeroDivisionError), awake():
        1 / 0  # noqa: B018
    assert {name: p.data_ptr() for name, p in teacher.named_parameters()} == home


def test_states_of_a_rollout_are_those_of_a_forward_pass(overrides: Overrides) -> None:
    one = trainer(make("qwen3", 0), make("qwen3", 1), overrides)
    backend = replace(one.exp.rollout, max_new_tokens=9, batch_size=3)
    prompts = [[3, 4, 5], [6], [7, 8, 9, 10, 11, 12], [5, 6], [9, 9]]
    models = one.pair.student, one.pair.tokenizer
    request = RolloutRequest(prompts=prompts, rows=range(5), noise=Noise(0))
    bare, made = backend(*models, request), backend(*models, replace(request, with_states=True))
    assert bare.states_ND is None
    assert made.states_ND is not None
    assert torch.equal(made.response_BT, bare.response_BT)  # listening changes nothing
    assert len(set(made.lengths)) > 1
    hooks = one.pair.student.base_model._forward_hooks
    assert not hooks
    for stats, atol in ((made, 1e-9), (bare, 0.0)):
        _, got = one.score(stats, MONITORED)
        _, want = one.score(bare, MONITORED)
        for name, value_BT in got.computed().items():
            torch.testing.assert_close(value_BT, want[name], rtol=0, atol=max(atol * 100, 1e-6), msg=name)
