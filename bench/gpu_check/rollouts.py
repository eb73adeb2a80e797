"""Sampling by tipx's decoding loop, by transformers' `generate`, and by vLLM in this process where it is installed.

The student has the widths of Qwen3-4B and random weights in bfloat16. Log-probability gap: how far the log-probability
of each sampled token, as the sampler computed it, is from that of one forward pass over the whole text, mean in nats.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench import peers
from bench.gpu_check.decoding import BY_GENERATE, make_prompts, make_tokenizer, share_of_others
from bench.gpu_check.gauge import take_turns
from bench.gpu_check.pairs import make_model, small_config, wide_config
from bench.gpu_check.results import Work
from tipx.config import build, load
from tipx.divergences import ReverseKL
from tipx.models.head import backbone, lm_head
from tipx.noise import Noise
from tipx.rollout import RolloutRequest, Rollouts
from tipx.rollout.engines import last_gap, last_tolerance, open_engines
from tipx.train.batching import micro_batches
from tipx.types import Rollout
from tipx.vocab import Hidden, Vocab

TABLE = "Rollouts"
GAP_BOUND = 0.15
"""Of the mean gap, nats: as `rollout.tolerance` for bfloat16."""
ENGINE_S = 150.0
"""An engine is not begun with less time than this: it compiles, and captures graphs."""
ENGINE_SHARE = 0.5
MICRO_BATCH = 8


@dataclass(frozen=True)
class Sizes:
    """Layers, vocabulary, and what is sampled: rows, tokens of a prompt and of a response."""

    layers: int
    vocab: int
    rows: int
    prompt: int
    response: int
    rounds: int


FULL, SMALL = Sizes(36, 151_936, 64, 128, 64, 2), Sizes(2, 2048, 4, 9, 8, 1)


def run(work: Work) -> None:
    """HF both ways in turns, then vLLM."""
    sizes = SMALL if work.small else FULL
    config = small_config("student", sizes.layers, sizes.vocab) if work.small else wide_config("student", sizes.layers)
    work.say("the student")
    model = make_model(config, torch.bfloat16, work.device, seed=1)
    # Random weights give each token nearly the same probability, so that none ends a response early.
    tokenizer = make_tokenizer(sizes.vocab)
    sampler = Sampler(model, tokenizer, make_prompts(sizes.vocab, sizes.rows, sizes.prompt))
    work.say("transformers")
    sample_with_transformers(work, sizes, sampler)
    if not peers.installed("vllm"):
        work.note("vllm: not installed: pip install 'tipx[vllm]'")
    elif work.has_time(ENGINE_S, "vLLM"):
        work.say("vLLM")
        sample_with_vllm(work, sizes, sampler)


@dataclass(frozen=True)
class Sampler:
    """A model, its tokenizer, and prompts."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompts: list[list[int]]

    def sample(self, backend: Rollouts, *, with_states: bool = False) -> Rollout:
        """The same draws each time."""
        noise = Noise(0).substream("rollout")
        rows = range(len(self.prompts))
        request = RolloutRequest(prompts=self.prompts, rows=rows, noise=noise, with_states=with_states)
        return backend(self.model, self.tokenizer, request)


def build_backend(sizes: Sizes, *words: str) -> Any:
    """By the name of its configuration."""
    return build(load([*words, f"rollout.max_new_tokens={sizes.response}", f"rollout.batch_size={sizes.rows}"])).rollout


def sample_with_transformers(work: Work, sizes: Sizes, sampler: Sampler) -> None:
    """Tokens a second, and whether both ways sample the same."""
    backend = build_backend(sizes, "rollout=hf")
    made: dict[str, Rollout] = {}

    def sample(name: str) -> None:
        made[name] = sampler.sample(backend)

    def sample_by_generate() -> None:
        with BY_GENERATE:
            sample("generate")

    calls: dict[str, Callable[[], None]] = {"tipx": partial(sample, "tipx"), "generate": sample_by_generate}
    results = take_turns(calls, work.device, sizes.rounds, lambda: work.left > 20)
    rollout = sampler.sample(backend, with_states=True)
    gap = mean_gap(logprobs_of_states(sampler, rollout), logprobs_of_texts(sampler, rollout))
    for name, result in results.items():
        if result is None:
            work.note(f"{name}: does not fit into the device's memory")
            continue
        tokens = sum(made[name].lengths)
        gaps = {"logprob_gap": gap if name == "tipx" else None}
        work.row(
            TABLE, by=name, tokens=tokens, s=result.least, tokens_a_s=tokens / result.least, MiB=result.mib, **gaps
        )
    work.check("transformers: log-probability gap, nats", gap, GAP_BOUND)
    if made.keys() == calls.keys():
        others = share_of_others(made["tipx"], made["generate"])
        work.note(f"responses that tipx's loop and `generate` sample differently, by rounding: {others:.0%}")


def sample_with_vllm(work: Work, sizes: Sizes, sampler: Sampler) -> None:
    """Tokens a second once the weights are there, the gap after the push, and that of the sampled tokens."""
    backend = build_backend(
        sizes,
        "rollout=vllm",
        f"rollout.max_model_len={sizes.prompt + sizes.response}",
        f"rollout.gpu_memory_utilization={ENGINE_SHARE}",
    )
    with open_engines(work.file.with_name("vllm.log"), "bfloat16"):
        with backend.awake(sampler.model):
            made: list[Rollout] = []

            def sample() -> None:
                made[:] = [sampler.sample(backend)]

            results = take_turns({"vllm": sample}, work.device, sizes.rounds, lambda: work.left > 20)
        result, rollout = results["vllm"], made[0]
        tokens = sum(rollout.lengths)
        if result is None or rollout.logprobs_N is None:
            raise ValueError("vLLM gave no log-probabilities")
        gap = mean_gap(rollout.logprobs_N.to(work.device), logprobs_of_texts(sampler, rollout))
        seconds = result.least
        work.row(TABLE, by="vllm", tokens=tokens, s=seconds, tokens_a_s=tokens / seconds, MiB=None, logprob_gap=gap)
        work.check("vLLM: gap after the push, nats", last_gap(), last_tolerance())
        work.check("vLLM: log-probability gap of sampled tokens, nats", gap, GAP_BOUND)


def plain_engine() -> Vocab:
    return Vocab(chunk="auto", budget_mib="auto", compile=False)


def score_logprobs(states: Hidden, tokens_N: torch.Tensor) -> torch.Tensor:
    """Log-probability of each token, nats."""
    needs = frozenset({"student_logprob"})
    return plain_engine().compute_statistics(states, states, tokens_N, needs, ReverseKL()).values["student_logprob"]


def logprobs_of_states(sampler: Sampler, rollout: Rollout) -> torch.Tensor:
    """From the hidden states that the loop recorded while it sampled, in row-major order."""
    if rollout.states_ND is None:
        raise ValueError("the rollout has no states")
    tokens_N = rollout.response_BT[rollout.valid_BT]
    return score_logprobs(Hidden(rollout.states_ND, lm_head(sampler.model)), tokens_N)


@torch.no_grad()
def logprobs_of_texts(sampler: Sampler, rollout: Rollout) -> torch.Tensor:
    """From forward passes over whole texts, in row-major order."""
    tokens_N = rollout.response_BT[rollout.valid_BT]
    logprob_N = torch.zeros(len(tokens_N), device=tokens_N.device)
    for batch in micro_batches(rollout, rollout.valid_BT, MICRO_BATCH):
        states = Hidden(batch.hidden_states(backbone(sampler.model)), lm_head(sampler.model))
        logprob_N[batch.index_N] = score_logprobs(states, tokens_N[batch.index_N])
    return logprob_N


def mean_gap(logprob_N: torch.Tensor, right_N: torch.Tensor) -> float:
    """Mean distance, nats."""
    return (logprob_N - right_N).abs().mean().item()
