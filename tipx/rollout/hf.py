"""Rollouts by transformers' `generate`: batched, left-padded, with a KV cache."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tipx.rollout import RolloutRequest
from tipx.rollout.collect import collect, left_pad
from tipx.rollout.recorder import Recorder
from tipx.spec import Count, Temperature, TopP, Whole, spec
from tipx.text.token_ids import count_rows, pad_id
from tipx.types import Rollout


class SuppressUnknownIds(LogitsProcessor):
    """Leaves the ids that the tokenizer has: heads are wider, some wider than the teacher's embedding."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __call__(self, input_ids: Int[Tensor, "R L"], scores: Float[Tensor, "R V"]) -> Float[Tensor, "R V"]:
        if scores.shape[-1] <= self.rows:
            return scores
        return scores.index_fill(-1, torch.arange(self.rows, scores.shape[-1], device=scores.device), -torch.inf)


class InverseCDF(LogitsProcessor):
    """Makes `generate`'s argmax a sample: keeps the one token in whose share of the CDF the row's draw falls.

    One uniform a token, keyed by row, so that a response does not depend on what it is batched with; and twice as fast
    on CPU as `torch.multinomial` over a vocabulary of 150,000.
    """

    def __init__(self, draws_RT: Float[Tensor, "R T"], prompt_length: int) -> None:
        self.draws_RT, self.prompt_length = draws_RT, prompt_length

    def __call__(self, input_ids: Int[Tensor, "R L"], scores: Float[Tensor, "R V"]) -> Float[Tensor, "R V"]:
        cdf_RV = scores.double().softmax(-1).cumsum(-1)
        draw_R1 = self.draws_RT[:, input_ids.shape[1] - self.prompt_length, None].to(cdf_RV.device)
        # Scaled by the CDF's own end, which rounding leaves a little off 1; right=True never lands on a zero share.
        token_R1 = torch.searchsorted(cdf_RV, draw_R1 * cdf_RV[:, -1:], right=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(-1, token_R1, 0.0)


@spec
class HFRollouts:
    """Sampling by transformers."""

    temperature: Temperature
    """Sampling temperature. 0 is greedy. The loss is always at temperature 1."""
    top_p: TopP
    """Samples from the likeliest tokens that have this probability together. 1 is off."""
    top_k: Whole
    """Samples from so many likeliest tokens. 0 is off."""
    max_new_tokens: Count
    """Tokens of a response (of one turn, for agents). A response that reaches it is counted as truncated."""
    batch_size: Count
    """Prompts that are generated at once; limited by the memory of the KV cache."""

    @property
    def records_states(self) -> bool:
        return True

    @property
    def gives_logprobs(self) -> bool:
        return False

    def __call__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: RolloutRequest) -> Rollout:
        prompts, most = request.prompts, request.limits_within(self.max_new_tokens)
        # Alike lengths together: left padding then costs least. The draws are keyed by row, so order changes nothing.
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        responses: list[list[int]] = [[] for _ in prompts]
        recorded = Recorder(model, len(prompts)) if request.with_states else None
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            draws_RT = request.noise.draw_rows([request.rows[i] for i in batch], max(most[i] for i in batch))
            with nullcontext() if recorded is None else recorded.of(batch):
                new = self.generate(model, tokenizer, [prompts[i] for i in batch], draws_RT)
            for i, ids in zip(batch, new, strict=True):
                responses[i] = ids[: most[i]]
        rollout = collect(prompts, responses, eos_ids(model, tokenizer), model.device)
        return rollout if recorded is None else replace(rollout, states_ND=recorded.states(rollout.lengths))

    @torch.no_grad()
    def generate(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Sequence[int]],
        draws_RT: Float[Tensor, "R T"],
    ) -> list[list[int]]:
        """New token ids of each prompt, one for each draw at most; padding after the end of sequence still on."""
        eos = eos_ids(model, tokenizer)
        pad = pad_id(tokenizer)
        ids_RL, mask_RL = left_pad(prompts, pad, model.device)
        settings = GenerationConfig(
            max_new_tokens=draws_RT.shape[1],
            do_sample=False,
            eos_token_id=list(eos),
            pad_token_id=pad,
            use_cache=True,
        )
        sampler = LogitsProcessorList(
            [SuppressUnknownIds(count_rows(tokenizer)), *self.sampler(draws_RT, ids_RL.shape[1])]
        )
        # `generate` fills what `settings` leaves open from the model's own file: Qwen2.5's has a repetition penalty.
        own, model.generation_config = model.generation_config, GenerationConfig()
        try:
            out_RL: Tensor = model.generate(  # type: ignore[operator]
                input_ids=ids_RL, attention_mask=mask_RL, generation_config=settings, logits_processor=sampler
            )
        finally:
            model.generation_config = own
        new: list[list[int]] = out_RL[:, ids_RL.shape[1] :].tolist()
        return new

    def sampler(self, draws_RT: Float[Tensor, "R T"], prompt_length: int) -> LogitsProcessorList:
        """What turns logits into a one-token choice; empty for greedy."""
        steps = LogitsProcessorList()
        if self.temperature == 0:
            return steps
        if self.temperature != 1:
            steps.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k:
            steps.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            steps.append(TopPLogitsWarper(self.top_p))
        steps.append(InverseCDF(draws_RT, prompt_length))
        return steps


def eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every id that ends a response: the tokenizer's, and those of the model's generation config."""
    extra = model.generation_config.eos_token_id if model.generation_config is not None else None
    more = [] if extra is None else [extra] if isinstance(extra, int) else list(extra)
    return tuple(dict.fromkeys([int(tokenizer.eos_token_id), *more]))
