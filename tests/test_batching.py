"""Micro-batches: the right hidden states, whatever the split (traps 2, 4 and 6)."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from tipx.batching import MicroBatch, micro_batches, pack
from tipx.config import build, load, options
from tipx.divergences import ReverseKL
from tipx.models import body, lm_head
from tipx.noise import Noise
from tipx.rollout.collect import collect, from_lists
from tipx.types import STATISTICS, Rollout, TokenStats, scatter
from tipx.vocab import Hidden, Vocab

EOS, V = 9, 50
PROMPTS = [[3, 4, 5], [6], [7, 8, 3, 4, 5, 6, 7], [5, 5], [4, 3, 8, 8]]
# What was generated: ended by eos (then padding, also 9), cut by length, ended at once.
GENERATED = [
    [11, 12, EOS, EOS, EOS],
    [13, 14, 15, 16, 17],
    [EOS, EOS, EOS, EOS, EOS],
    [18, EOS, EOS, EOS, EOS],
    [19, 20, 21, 22, EOS],
]
LENGTHS = [3, 5, 1, 2, 5]
SPLITS = [1, 2, 4, 5, 64]


def qwen(seed: int, hidden: int) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=V,
        hidden_size=hidden,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=EOS,
    )
    return Qwen3ForCausalLM(config).eval()


@pytest.fixture(scope="module")
def student() -> Qwen3ForCausalLM:
    return qwen(0, 16)


@pytest.fixture(scope="module")
def teacher() -> Qwen3ForCausalLM:
    return qwen(1, 24)


@pytest.fixture
def rollout() -> Rollout:
    return collect(PROMPTS, GENERATED, [EOS], torch.device("cpu"))


@torch.no_grad()
def alone(model: Qwen3ForCausalLM) -> list[Tensor]:
    """Hidden states that predict each response, one sequence at a time, without padding or mask."""
    out = []
    for prompt, generated, n in zip(PROMPTS, GENERATED, LENGTHS, strict=True):
        ids = torch.tensor([prompt + generated[:n]])
        states_LD = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
        # Token t of the response is at p + t; what predicts it is one before: p - 1 .. p + n - 2.
        out.append(states_LD[len(prompt) - 1 : len(prompt) + n - 1])
    return out


@pytest.mark.parametrize("size", SPLITS)
def test_hidden_states_are_those_that_predict(size: int, student: Qwen3ForCausalLM, rollout: Rollout) -> None:
    with torch.no_grad():
        rows_ND = torch.cat([batch.hidden(body(student)) for batch in micro_batches(rollout, size)])
    assert rows_ND.shape == (sum(LENGTHS), 16)
    torch.testing.assert_close(rows_ND, torch.cat(alone(student)), rtol=1e-4, atol=1e-5)


def test_they_give_each_token_the_probability_of_the_whole_model(student: Qwen3ForCausalLM, rollout: Rollout) -> None:
    # Trap 4, said with logits: the probability of token t is in the logits of position t - 1.
    batch = pack(rollout, slice(0, 5))
    with torch.no_grad():
        hidden = Hidden(batch.hidden(body(student)), lm_head(student))
        got_N = hidden.log_probs().gather(-1, batch.tokens_N[:, None])[:, 0]
        expected = []
        for prompt, generated, n in zip(PROMPTS, GENERATED, LENGTHS, strict=True):
            ids = prompt + generated[:n]
            log_probs_LV = student(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            expected += [log_probs_LV[i - 1, ids[i]] for i in range(len(prompt), len(ids))]
    torch.testing.assert_close(got_N, torch.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", SPLITS)
def test_the_end_of_sequence_is_trained_on_and_padding_is_not(size: int, rollout: Rollout) -> None:
    # Trap 6. Padding has the same id 9, so the count tells them apart: one eos a response that ended, none in row 1.
    tokens = torch.cat([batch.tokens_N for batch in micro_batches(rollout, size)]).tolist()
    assert tokens == [11, 12, EOS, 13, 14, 15, 16, 17, EOS, 18, EOS, 19, 20, 21, 22, EOS]
    assert rollout.stop_reasons == ("eos", "length", "eos", "eos", "eos")


def test_layout(rollout: Rollout) -> None:
    # Rows 0 and 1: 3 + 3 and 1 + 5 tokens, so no wider than 6, though the rollout's longest sequence has 9.
    batch = pack(rollout, slice(0, 2))
    assert batch.ids_BL.tolist() == [[3, 4, 5, 11, 12, EOS], [6, 13, 14, 15, 16, 17]]
    assert batch.attention_BL.tolist() == [[1] * 6, [1] * 6]
    assert batch.predicts_BL.long().tolist() == [[0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0]]
    # Row 2: 7 + 1, row 3: 2 + 2 padded to 8.
    batch = pack(rollout, slice(2, 4))
    assert batch.attention_BL.tolist() == [[1] * 8, [1] * 4 + [0] * 4]
    assert batch.predicts_BL.long().tolist() == [[0] * 6 + [1, 0], [0, 1, 1, 0] + [0] * 4]


@pytest.mark.parametrize("size", SPLITS)
def test_every_row_is_in_one_batch_in_order(size: int, rollout: Rollout) -> None:
    batches: list[MicroBatch] = list(micro_batches(rollout, size))
    assert batches[0].rows.start == 0
    assert batches[-1].rows.stop == 5
    assert all(a.rows.stop == b.rows.start for a, b in pairwise(batches))
    assert all(len(b.ids_BL) <= size for b in batches)


def test_a_response_without_tokens_has_no_rows(student: Qwen3ForCausalLM) -> None:
    rollout = from_lists([[3, 4], [5]], [[], [11]], ["length", "length"], torch.device("cpu"))
    batch = pack(rollout, slice(0, 2))
    assert batch.tokens_N.tolist() == [11]
    assert batch.predicts_BL.long().tolist() == [[0, 0], [1, 0]]
    assert batch.hidden(body(student)).shape == (1, 16)


def statistics(rollout: Rollout, student: Qwen3ForCausalLM, teacher: Qwen3ForCausalLM, size: int) -> TokenStats:
    """All eight, computed `size` sequences at a time."""
    vocab, parts = Vocab(chunk=3, budget_mib=1), []
    with torch.no_grad():
        for batch in micro_batches(rollout, size):
            ours, theirs = (Hidden(batch.hidden(body(m)), lm_head(m)) for m in (student, teacher))
            parts.append(vocab.stats(ours, theirs, batch.tokens_N, STATISTICS, ReverseKL()).values)
    whole = {name: torch.cat([part[name] for part in parts]) for name in STATISTICS}
    return TokenStats(**{name: scatter(values_N, rollout.valid_BT) for name, values_N in whole.items()})


@pytest.mark.parametrize("name", options("selector"))
def test_the_same_weights_for_every_split(
    name: str, student: Qwen3ForCausalLM, teacher: Qwen3ForCausalLM, rollout: Rollout
) -> None:
    # Trap 2, from hidden states to weights.
    selector = build(load([f"selector={name}", "ratio=0.4"])).selector
    weights = []
    for size in (1, 4, 5):
        stats = statistics(rollout, student, teacher, size)
        weights.append(selector(stats, rollout.valid_BT, Noise(3, 1)))
    assert weights[0].any()
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
