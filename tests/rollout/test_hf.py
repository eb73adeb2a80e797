"""Rollouts by transformers: what a response depends on, and that each setting does what it says."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerBase,
    Qwen3ForCausalLM,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tests.conftest import save_model
from tipx.config import build, load
from tipx.noise import Noise
from tipx.rollout import RolloutRequest, Rollouts
from tipx.rollout.hf import HFRollouts, eos_ids, largest
from tipx.rollout.inverse_cdf import pick_tokens
from tipx.types import Rollout

HF = Callable[..., HFRollouts]
PROMPTS = [[20, 21, 22], [23], [24, 25, 26, 27, 28, 29, 30], [31, 32], [20, 21, 22], [33, 34, 35, 36], [37], [38, 39]]
ROWS = [0, 1, 2, 3, 4, 5, 6, 7]


def responses(rollout: Rollout) -> list[list[int]]:
    return [ids[valid].tolist() for ids, valid in zip(rollout.response_BT, rollout.valid_BT, strict=True)]


def sample(
    backend: HFRollouts,
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[int] = ROWS,
    noise: Noise = Noise(5, 2),  # noqa: B008 - frozen
) -> list[list[int]]:
    """Responses to the prompts of these rows."""
    request = RolloutRequest(prompts=[PROMPTS[r] for r in rows], rows=rows, noise=noise)
    return responses(backend(model, tokenizer, request))


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_a_response_does_not_depend_on_its_batch(
    batch_size: int, hf: HF, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    expected = sample(hf(batch_size=4), model, tokenizer)
    assert len({tuple(r) for r in expected}) == 8  # the equal prompts 0 and 4 too: each row has its own draws
    assert sample(hf(batch_size=batch_size), model, tokenizer) == expected


def test_nor_on_the_other_rows_or_their_order(
    hf: HF, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    expected = sample(hf(), model, tokenizer)
    for rows in ([7, 2, 0, 5, 1, 6, 3, 4], [6, 2], [4]):  # the last two: as another process's share
        assert sample(hf(), model, tokenizer, rows) == [expected[r] for r in rows]


def test_it_depends_on_seed_and_step_and_not_on_torchs_generator(
    hf: HF, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    torch.manual_seed(1)
    first = sample(hf(), model, tokenizer)
    torch.manual_seed(2)
    assert sample(hf(), model, tokenizer) == first
    assert sample(hf(), model, tokenizer, noise=Noise(6, 2)) != first
    assert sample(hf(), model, tokenizer, noise=Noise(5, 3)) != first


def test_the_order_of_prompts_is_kept(hf: HF, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    rollout = hf()(model, tokenizer, RolloutRequest(prompts=PROMPTS, rows=ROWS, noise=Noise(0)))
    assert rollout.prompt_ids == tuple(tuple(p) for p in PROMPTS)
    assert isinstance(hf(), Rollouts)


@pytest.fixture
def greedy(model: Qwen3ForCausalLM) -> list[list[int]]:
    """Argmax by hand, one prompt at a time, no padding and no cache: up to 12 tokens or the end."""
    out = []
    for prompt in PROMPTS:
        ids = list(prompt)
        while len(ids) < len(prompt) + 12:
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] in (1, *range(10, 16)):
                break
        out.append(ids[len(prompt) :])
    return out


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-3}],
    ids=lambda s: next(iter(s)),
)
def test_four_ways_to_be_greedy(
    settings: dict[str, float],
    hf: HF,
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    greedy: list[list[int]],
) -> None:
    assert sample(hf(**settings), model, tokenizer) == greedy


def test_greedy_is_transformers_own(hf: HF, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    ours = sample(hf(temperature=0.0), model, tokenizer)
    for prompt, got in zip(PROMPTS, ours, strict=True):
        ids = torch.tensor([prompt])
        own = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
        assert own[0, len(prompt) :].tolist() == got


def shaped(logits_V: Tensor, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    """The distribution that the settings describe, written out: scale, keep the k largest, keep the nucleus."""
    p_V = (logits_V.double() / temperature).softmax(-1).numpy()
    order = np.argsort(-p_V, kind="stable")
    keep = order[: top_k or len(p_V)]
    p_V = np.where(np.isin(np.arange(len(p_V)), keep), p_V, 0.0) / p_V[keep].sum()
    before = np.cumsum(p_V[order]) - p_V[order]  # mass of the likelier tokens: the one that crosses top_p is kept
    return np.where(np.isin(np.arange(len(p_V)), order[before < top_p]), p_V, 0.0) / p_V[order[before < top_p]].sum()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.5, 0, 1.0), (2.0, 6, 1.0), (1.0, 0, 0.5), (1.5, 10, 0.7)]
)
def test_settings_shape_the_distribution(
    temperature: float, top_k: int, top_p: float, hf: HF, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    n, prompt = 3000, [20, 21, 22]
    with torch.no_grad():
        expected_V = shaped(model(input_ids=torch.tensor([prompt])).logits[0, -1], temperature, top_k, top_p)
    backend = hf(temperature=temperature, top_k=top_k, top_p=top_p, max_new_tokens=1, batch_size=n)
    rollout = backend(model, tokenizer, RolloutRequest(prompts=[prompt] * n, rows=range(n), noise=Noise(11)))
    counts_V = np.bincount(rollout.response_BT[:, 0].numpy(), minlength=len(expected_V))
    assert not counts_V[expected_V == 0].any()
    # Chi-square wants five expected at least: rarer tokens are put together.
    common_V = n * expected_V >= 5
    counts = [*counts_V[common_V], counts_V[~common_V].sum()]
    expected = [*(n * expected_V[common_V]), n * expected_V[~common_V].sum()]
    pairs = [(c, e) for c, e in zip(counts, expected, strict=True) if e > 0]
    assert len(pairs) > 2
    assert chisquare(*zip(*pairs, strict=True)).pvalue > 0.001


def test_the_models_own_generation_settings_do_not_leak_in(
    hf: HF, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    # Qwen2.5's generation_config.json asks for a repetition penalty: its rollouts would be no samples of the student.
    expected = sample(hf(), model, tokenizer)
    own = GenerationConfig(
        eos_token_id=[1, *range(10, 16)],
        repetition_penalty=5.0,
        no_repeat_ngram_size=1,
        min_new_tokens=9,
        suppress_tokens=list(range(20, 60)),
        temperature=0.1,
        top_k=2,
        do_sample=True,
    )
    model.generation_config = own
    assert sample(hf(), model, tokenizer) == expected
    assert model.generation_config is own


def test_ends(hf: HF, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    ends = (1, *range(10, 16))
    assert eos_ids(model, tokenizer) == ends
    rollout = hf()(model, tokenizer, RolloutRequest(prompts=PROMPTS * 4, rows=range(32), noise=Noise(1)))
    assert set(rollout.stop_reasons) == {"eos", "length"}
    for ids, reason in zip(responses(rollout), rollout.stop_reasons, strict=True):
        assert not set(ids[:-1]) & set(ends)
        assert (ids[-1] in ends) == (reason == "eos")
        assert len(ids) == 12 if reason == "length" else 1 <= len(ids) <= 12


def test_padding_with_the_end_of_sequence_changes_nothing(
    hf: HF, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, same_pad: PreTrainedTokenizerBase
) -> None:
    # Batches mix short and long responses, so the short ones are filled up with what is also their last token.
    assert same_pad.pad_token_id == same_pad.eos_token_id == 1
    model.generation_config.eos_token_id = 1
    model.lm_head.weight.data[1] *= 3  # make it likely enough to be seen
    wide, request = hf(batch_size=32), RolloutRequest(prompts=PROMPTS * 4, rows=range(32), noise=Noise(4))
    pads, ends = (wide(model, t, request) for t in (tokenizer, same_pad))
    assert responses(pads) == responses(ends)
    assert pads.stop_reasons == ends.stop_reasons
    assert set(ends.stop_reasons) == {"eos", "length"}
    assert all((ids[-1] == 1) == (why == "eos") for ids, why in zip(responses(ends), ends.stop_reasons, strict=True))


def test_a_tokenizer_without_padding(
    hf: HF, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, same_pad: PreTrainedTokenizerBase
) -> None:
    same_pad.pad_token = None
    assert sample(hf(), model, same_pad) == sample(hf(), model, tokenizer)


@pytest.mark.parametrize("length", [1, 5])
def test_max_new_tokens(length: int, hf: HF, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    # A shorter limit cuts the same responses: longer asks keep the shorter one's draws.
    whole = sample(hf(), model, tokenizer)
    assert max(map(len, whole)) > 5
    assert sample(hf(max_new_tokens=length), model, tokenizer) == [ids[:length] for ids in whole]


def test_presets_sample_the_students_own_distribution() -> None:
    # On-policy means temperature 1 and no truncation, for training.
    for name in ("hf", "hf_long"):
        rollout = build(load([f"rollout={name}"])).rollout
        assert (rollout.temperature, rollout.top_p, rollout.top_k) == (1.0, 1.0, 0)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.0}, {"temperature": 2.0, "top_k": 3}, {"top_p": 0.5}])
def test_only_ids_of_the_tokenizer_are_sampled(
    settings: dict[str, float], hf: HF, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    # Two thirds of a flat distribution are rows that no token has, and one of them leads.
    size = len(tokenizer)
    wide = Qwen3ForCausalLM.from_pretrained(save_model(tmp_path / "wide", 3, vocab=3 * size))
    with torch.no_grad():
        wide.get_input_embeddings().weight[size:] *= 2
    found = sample(hf(**settings), wide, tokenizer)
    assert max(max(ids) for ids in found) < size
    assert len({token for ids in found for token in ids}) > 3


def test_the_largest_are_as_many_as_asked_for_and_those_that_equal_the_last() -> None:
    scores_RV = torch.tensor([[1.0, 5.0, 3.0, 3.0, 4.0, 3.0], [6.0, 1.0, 2.0, 4.0, 3.0, 5.0]])
    scores_RK, ids_RK = largest(scores_RV, 3)
    assert ids_RK.tolist()[0] == [1, 2, 3, 4, 5]
    assert scores_RK.tolist()[0] == [5.0, 3.0, 3.0, 4.0, 3.0]
    likely_R = scores_RK[1] > -torch.inf
    assert dict(zip(ids_RK[1][likely_R].tolist(), scores_RK[1][likely_R].tolist(), strict=True)) == {0: 6, 3: 4, 5: 5}
    assert largest(scores_RV, 100)[1].tolist() == [[0, 1, 2, 3, 4, 5]] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "settings", [{"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.8}, {"temperature": 0.6, "top_k": 20, "top_p": 0.95}]
)
def test_a_choice_is_that_among_transformers_warped_scores(
    settings: dict[str, float], dtype: torch.dtype, hf: HF
) -> None:
    generator = torch.Generator().manual_seed(0)
    # In bf16 many logits are equal, also where top-k ends.
    scores_RV = (3 * torch.randn(400, 700, generator=generator)).to(dtype)
    draws_R = torch.rand(400, dtype=torch.float64, generator=generator)
    warped_RV = scores_RV.float()
    how = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} | settings
    for applies, warper in (
        (how["temperature"] != 1, TemperatureLogitsWarper(how["temperature"])),
        (how["top_k"] > 0, TopKLogitsWarper(int(how["top_k"]) or 1)),
        (how["top_p"] < 1, TopPLogitsWarper(how["top_p"])),
    ):
        warped_RV = warper(None, warped_RV) if applies else warped_RV
    expected_R = pick_tokens(warped_RV, draws_R)
    assert (hf(**settings).choose(scores_RV, draws_R) != expected_R).sum() <= (0 if dtype == torch.float32 else 2)
