"""Micro-batches: the right hidden states, whatever the split."""

import pytest
import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from tipx.config import build, load, options
from tipx.divergences import ReverseKL
from tipx.models.head import backbone, lm_head
from tipx.noise import Noise
from tipx.rollout.collect import collect, from_lists
from tipx.train.batching import MicroBatch, idle_batch, micro_batches
from tipx.types import STATISTICS, Rollout, TokenStats, scatter_tokens
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


def split(rollout: Rollout, size: int, wanted_BT: Tensor | None = None) -> list[MicroBatch]:
    return list(micro_batches(rollout, rollout.valid_BT if wanted_BT is None else wanted_BT, size))


def in_order(rollout: Rollout, batches: list[MicroBatch], parts: list[Tensor]) -> Tensor:
    """Rows of the micro-batches put back into row-major order of the valid tokens; missing ones are nan."""
    out = torch.full((int(rollout.valid_BT.sum()), *parts[0].shape[1:]), torch.nan)
    for batch, part in zip(batches, parts, strict=True):
        out[batch.index_N] = part
    return out


@torch.no_grad()
def states(rollout: Rollout, model: Qwen3ForCausalLM, size: int, wanted_BT: Tensor | None = None) -> Tensor:
    batches = split(rollout, size, wanted_BT)
    return in_order(rollout, batches, [batch.hidden_states(backbone(model)) for batch in batches])


@pytest.mark.parametrize("size", SPLITS)
def test_hidden_states_are_those_that_predict(size: int, student: Qwen3ForCausalLM, rollout: Rollout) -> None:
    rows_ND = states(rollout, student, size)
    assert rows_ND.shape == (sum(LENGTHS), 16)
    torch.testing.assert_close(rows_ND, torch.cat(alone(student)), rtol=1e-4, atol=1e-5)


def test_they_give_each_token_the_probability_of_the_whole_model(student: Qwen3ForCausalLM, rollout: Rollout) -> None:
    # The probability of token t is in the logits of position t - 1.
    tokens_N = rollout.response_BT[rollout.valid_BT]
    with torch.no_grad():
        hidden = Hidden(states(rollout, student, 5), lm_head(student))
        got_N = hidden.log_probs().gather(-1, tokens_N[:, None])[:, 0]
        expected = []
        for prompt, generated, n in zip(PROMPTS, GENERATED, LENGTHS, strict=True):
            ids = prompt + generated[:n]
            log_probs_LV = student(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            expected += [log_probs_LV[i - 1, ids[i]] for i in range(len(prompt), len(ids))]
    torch.testing.assert_close(got_N, torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_the_end_of_sequence_is_trained_on_and_padding_is_not(rollout: Rollout) -> None:
    # Padding has the same id 9, so the count tells them apart: one eos a response that ended, none in row 1.
    tokens = rollout.response_BT[rollout.valid_BT].tolist()
    assert tokens == [11, 12, EOS, 13, 14, 15, 16, 17, EOS, 18, EOS, 19, 20, 21, 22, EOS]
    assert rollout.stop_reasons == ("eos", "length", "eos", "eos", "eos")


def test_layout(rollout: Rollout) -> None:
    # Inputs end at the place that predicts the last token: row 0 has 3 + 2, rows 1 to 4: 1 + 4, 7 + 0, 2 + 1, 4 + 4.
    # The longest is row 4 with 8, so two "of the longest kind" are 16 places: 4 and 2 (7, padded); 0, 1 and 3.
    first, second = split(rollout, 2)
    assert first.ids_bL.tolist() == [[4, 3, 8, 8, 19, 20, 21, 22], [7, 8, 3, 4, 5, 6, 7, 0]]
    assert first.attention_bL.tolist() == [[1] * 8, [1] * 7 + [0]]
    assert second.ids_bL.tolist() == [[3, 4, 5, 11, 12], [6, 13, 14, 15, 16], [5, 5, 18, 0, 0]]
    # Row 4 is predicted at 3..7 and holds the last five tokens of sixteen; row 2's one is the ninth, at 8 + 6.
    assert first.positions_N.tolist() == [3, 4, 5, 6, 7, 14]
    assert first.index_N.tolist() == [11, 12, 13, 14, 15, 8]
    assert second.positions_N.tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 11, 12]
    assert second.index_N.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10]


def test_a_sequence_ends_with_its_last_wanted_token(rollout: Rollout) -> None:
    # Wanted: the first token of row 1, the third of row 4. Rows 0, 2 and 3 are not run at all.
    wanted_BT = torch.zeros_like(rollout.valid_BT)
    wanted_BT[1, 0] = wanted_BT[4, 2] = True
    (only,) = split(rollout, 5, wanted_BT)
    assert only.ids_bL.tolist() == [[4, 3, 8, 8, 19, 20], [6, 0, 0, 0, 0, 0]]
    assert only.positions_N.tolist() == [5, 6]
    assert only.index_N.tolist() == [13, 3]


@pytest.mark.parametrize("size", SPLITS)
def test_trimming_changes_no_state(size: int, student: Qwen3ForCausalLM, rollout: Rollout) -> None:
    wanted_BT = rollout.valid_BT & (
        torch.rand(rollout.valid_BT.shape, generator=torch.Generator().manual_seed(4)) < 0.4
    )
    wanted_N = wanted_BT[rollout.valid_BT]
    assert 0 < wanted_N.sum() < len(wanted_N)
    some_ND = states(rollout, student, size, wanted_BT)
    assert torch.equal(~some_ND[:, 0].isnan(), wanted_N)
    torch.testing.assert_close(some_ND[wanted_N], torch.cat(alone(student))[wanted_N], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", SPLITS)
def test_every_wanted_token_is_in_one_batch_and_none_is_larger_than_asked(size: int, rollout: Rollout) -> None:
    batches = split(rollout, size)
    assert torch.cat([b.index_N for b in batches]).sort().values.tolist() == list(range(sum(LENGTHS)))
    assert all(b.ids_bL.numel() <= size * 8 for b in batches)


def test_nothing_wanted_is_no_batch_and_idling_is_one_token(student: Qwen3ForCausalLM, rollout: Rollout) -> None:
    assert split(rollout, 5, torch.zeros_like(rollout.valid_BT)) == []
    batch = idle_batch(rollout)
    assert batch.ids_bL.tolist() == [[3]]
    assert batch.hidden_states(backbone(student)).shape == (0, 16)


def test_a_response_without_tokens_has_no_rows(student: Qwen3ForCausalLM) -> None:
    rollout = from_lists([[3, 4], [5]], [[], [11]], ["length", "length"], torch.device("cpu"))
    (batch,) = split(rollout, 2)
    assert batch.ids_bL.tolist() == [[5]]
    assert batch.hidden_states(backbone(student)).shape == (1, 16)


def statistics(rollout: Rollout, student: Qwen3ForCausalLM, teacher: Qwen3ForCausalLM, size: int) -> TokenStats:
    """All eight, computed `size` sequences at a time."""
    vocab, tokens_N = Vocab(chunk=3, budget_mib=1, compile=False), rollout.response_BT[rollout.valid_BT]
    with torch.no_grad():
        ours, theirs = (Hidden(states(rollout, model, size), lm_head(model)) for model in (student, teacher))
        found = vocab.compute_statistics(ours, theirs, tokens_N, STATISTICS, ReverseKL()).values
    return TokenStats(**{name: scatter_tokens(values_N, rollout.valid_BT) for name, values_N in found.items()})


@pytest.mark.parametrize("name", options("selector"))
def test_the_same_weights_for_every_split(
    name: str, student: Qwen3ForCausalLM, teacher: Qwen3ForCausalLM, rollout: Rollout
) -> None:
    # The kept tokens, from hidden states to weights, must not depend on the micro-batch size.
    selector = build(load([f"selector={name}", "ratio=0.4"])).selector
    weights = []
    for size in (1, 4, 5):
        stats = statistics(rollout, student, teacher, size)
        weights.append(selector(stats, rollout.valid_BT, Noise(3, 1)))
    assert weights[0].any()
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
