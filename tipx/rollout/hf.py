"""Rollouts by transformers: batched, left-padded, with a KV cache."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TopPLogitsWarper

from tipx.rollout import RolloutRequest
from tipx.rollout.cache import Architecture
from tipx.rollout.collect import collect
from tipx.rollout.decode import Decoder, Reply, Response
from tipx.rollout.generate import Generator
from tipx.rollout.inverse_cdf import pick_tokens
from tipx.rollout.recorder import Recorder
from tipx.spec import Count, Temperature, TopP, Whole, spec
from tipx.text.token_ids import count_rows, pad_id
from tipx.types import Rollout

SCORES = 2**20
"""Logits that a token is chosen from at once: 4 MiB, which the caches of a CPU hold."""


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
        recorder = Recorder(model) if request.with_states else None
        responses = self.responses(request)
        for _ in self.respond(model, tokenizer, responses, lambda _: None, recorder):
            pass
        rollout = as_rollout(model, tokenizer, responses)
        if recorder is None:
            return rollout
        return replace(rollout, states_ND=recorder.states([place for r in responses for place in r.places]))

    def stream(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: RolloutRequest
    ) -> Iterator[tuple[list[int], Rollout]]:
        """What `__call__` gives, some at a time as they end, with their places in the request."""
        responses = self.responses(request)
        place_of = {response: place for place, response in enumerate(responses)}
        for ended in self.respond(model, tokenizer, responses, lambda _: None, None):
            yield [place_of[response] for response in ended], as_rollout(model, tokenizer, ended)

    def responses(self, request: RolloutRequest) -> list[Response]:
        """One for each prompt of the request, still empty."""
        texts = zip(request.prompts, request.rows, request.limits_within(self.max_new_tokens), strict=True)
        return [Response(prompt, row, request.noise, limit) for prompt, row, limit in texts]

    def respond(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        responses: Sequence[Response],
        reply: Reply,
        recorder: Recorder | None,
    ) -> Iterator[list[Response]]:
        """Samples responses to their ends, `batch_size` at once, and what `reply` has follow; yields those that ended.

        The shortest prompts begin. Alike lengths together have least padding, and draws are keyed by row.
        """
        known, architecture = count_rows(tokenizer), Architecture(model)

        def choose(logits_RV: Float[Tensor, "R V"], draws_R: Float[Tensor, " R"]) -> Int[Tensor, " R"]:
            # Heads are wider than tokenizers, some wider than the teacher's embedding.
            return self.choose(logits_RV[:, :known], draws_R)

        ends, pad = frozenset(eos_ids(model, tokenizer)), pad_id(tokenizer)
        sampler: Decoder | Generator = Generator(model, choose, ends, pad, self.batch_size, recorder)
        if architecture.selectable:
            sampler = Decoder(model, architecture, choose, ends, pad, self.batch_size, recorder)
        with nullcontext() if recorder is None else recorder.listen():
            yield from sampler.run(sorted(responses, key=lambda response: len(response.prompt)), reply)

    def choose(self, logits_RV: Float[Tensor, "R V"], draws_R: Float[Tensor, " R"]) -> Int[Tensor, " R"]:
        """A token for each row, by temperature, top-k and top-p and the row's draw. On a CPU a few rows at a time."""
        if self.temperature == 0:
            return logits_RV.argmax(-1)
        rows = max(1, SCORES // logits_RV.shape[-1]) if logits_RV.device.type == "cpu" else len(logits_RV)
        parts = zip(logits_RV.split(rows), draws_R.split(rows), strict=True)
        return torch.cat([self.pick(some_RV.float(), some_R) for some_RV, some_R in parts])

    def pick(self, scores_RV: Float[Tensor, "R V"], draws_R: Float[Tensor, " R"]) -> Int[Tensor, " R"]:
        """A sampled token for each row."""
        if self.temperature != 1:
            scores_RV = scores_RV / self.temperature
        if not self.top_k:
            return pick_tokens(self.nucleus(scores_RV), draws_R)
        scores_RK, ids_RK = largest(scores_RV, self.top_k)
        place_R1 = pick_tokens(self.nucleus(scores_RK), draws_R)[:, None]
        return ids_RK.gather(-1, place_R1)[:, 0]

    def nucleus(self, scores_RV: Float[Tensor, "R V"]) -> Float[Tensor, "R V"]:
        """Scores of the likeliest tokens that have probability `top_p` together; -inf for the others."""
        if self.top_p == 1:
            return scores_RV
        kept_RV: Tensor = TopPLogitsWarper(self.top_p)(None, scores_RV)
        return kept_RV


def largest(scores_RV: Float[Tensor, "R V"], k: int) -> tuple[Float[Tensor, "R K"], Int[Tensor, "R K"]]:
    """The k largest of each row with their ids, by id; more where the last of them is there several times.

    A row that has fewer of these than another is filled up with -inf.
    """
    least_R1 = scores_RV.topk(min(k, scores_RV.shape[-1])).values[:, -1:]
    most = int((scores_RV >= least_R1).sum(-1).max())
    ids_RK = scores_RV.topk(most).indices.sort().values
    scores_RK = scores_RV.gather(-1, ids_RK)
    return scores_RK.masked_fill(scores_RK < least_R1, -torch.inf), ids_RK


def as_rollout(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, responses: Sequence[Response]) -> Rollout:
    """Ended responses, in their order."""
    prompts, ids = [response.prompt for response in responses], [response.ids for response in responses]
    return collect(prompts, ids, eos_ids(model, tokenizer), model.device)


def eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every id that ends a response: the tokenizer's, and those of the model's generation config."""
    extra = model.generation_config.eos_token_id if model.generation_config is not None else None
    more = [] if extra is None else [extra] if isinstance(extra, int) else list(extra)
    return tuple(dict.fromkeys([int(tokenizer.eos_token_id), *more]))
