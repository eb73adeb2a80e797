"""Wider heads: the same function, the same training, and sizes that vLLM's kernels take."""

import json

import pytest
import torch
from transformers import Qwen3ForCausalLM

from tipx.embedded.arithmetic.tokenizer import build_tokenizer
from tipx.embedded.heads import ENGINE_HEAD_SIZE, pad_halves, widen_heads
from tipx.embedded.tuning import Recipe, new_model, reproducible, train_step
from tipx.models.locate import PAIRS, embedded_folder


def make_model(heads: int = 4) -> Qwen3ForCausalLM:
    """A random model with heads of 96 / heads numbers, whose norms are not all ones."""
    with reproducible(0):
        model = new_model(Recipe(hidden=96, layers=2, batch=4, steps=4, decay=0.5, heads=heads), build_tokenizer())
        for name, weight in model.named_parameters():
            torch.nn.init.uniform_(weight, 0.5, 2.0) if "norm" in name else torch.nn.init.normal_(weight, std=0.2)
    return model.eval()


def random_ids(rows: int = 4, length: int = 200) -> torch.Tensor:
    return torch.randint(3, 67, (rows, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("heads", [4, 6, 12])  # of 24, 16 and 8 numbers
@torch.no_grad()
def test_the_function_is_the_same(heads: int) -> None:
    model, ids_BT = make_model(heads), random_ids()
    wide = widen_heads(model)
    assert wide.config.head_dim == ENGINE_HEAD_SIZE > model.config.head_dim
    old, new = model(ids_BT).logits, wide(ids_BT).logits
    assert old.std() > 1
    # float32's own rounding is 3e-5 here, and eps weighs a little more.
    torch.testing.assert_close(new, old, rtol=0, atol=3e-4)


def test_zeros_go_behind_each_half_of_each_head() -> None:
    two_heads = torch.arange(1.0, 9.0)  # of four numbers each, to be six
    padded = [1.0, 2, 0, 3, 4, 0, 5, 6, 0, 7, 8, 0]
    assert pad_halves(two_heads, axis=0, old=2, new=3).tolist() == padded
    assert pad_halves(two_heads[None], axis=1, old=2, new=3).tolist() == [padded]


def test_steps_change_what_they_changed_and_leave_zeros() -> None:
    model = make_model()
    wide = widen_heads(model)
    born = {name: weight == 0 for name, weight in wide.named_parameters()}
    optimizers = [torch.optim.AdamW(m.parameters(), lr=0.0, betas=(0.9, 0.98)) for m in (model, wide)]
    ids_BT = random_ids(4, 50)
    for _ in range(3):
        losses = [
            train_step(m, o, (ids_BT, ids_BT), lr=1e-3, clip=1.0)
            for m, o in zip((model, wide), optimizers, strict=True)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0] > 1
    for name, weight in wide.named_parameters():
        assert torch.equal(weight == 0, born[name]), name
        assert born[name].any() == ("self_attn" in name), name


def test_heads_that_are_wide_enough_stay() -> None:
    model = make_model(heads=3)
    assert model.config.head_dim == ENGINE_HEAD_SIZE
    assert widen_heads(model) is model


@pytest.mark.parametrize("name", PAIRS)
def test_the_shipped_models_have_heads_for_engines(name: str) -> None:
    assert json.loads((embedded_folder(name) / "config.json").read_text())["head_dim"] == ENGINE_HEAD_SIZE
