"""Sampling by transformers' `generate`, for models whose cache only they know how to use."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from tipx.rollout.collect import left_pad
from tipx.rollout.decode import Choose, Reply, Response, take
from tipx.rollout.recorder import Recorder


class ChosenOnly(LogitsProcessor):
    """Makes `generate`'s argmax our choice: no other token is left. `firsts` are the recorder's places."""

    def __init__(
        self, choose: Choose, draws_RT: Float[Tensor, "R T"], prompt_length: int, recorder: Recorder | None
    ) -> None:
        self.choose, self.draws_RT, self.prompt_length, self.recorder = choose, draws_RT, prompt_length, recorder
        self.firsts: list[int] = []

    def __call__(self, input_ids: Int[Tensor, "R L"], scores: Float[Tensor, "R V"]) -> Float[Tensor, "R V"]:
        tokens_R = self.choose(scores, self.draws_RT[:, input_ids.shape[1] - self.prompt_length])
        self.firsts.append(0 if self.recorder is None else self.recorder.keep(self.recorder.newest_RD))
        return torch.full_like(scores, -torch.inf).scatter(-1, tokens_R[:, None], 0.0)


@dataclass
class Generator:
    """As `Decoder`, by `generate`: a batch is as long as its longest response, and each prompt is read anew."""

    model: PreTrainedModel
    choose: Choose
    ends: frozenset[int]
    pad: int
    size: int
    recorder: Recorder | None

    def run(self, responses: Iterable[Response], reply: Reply) -> Iterator[list[Response]]:
        """Samples all of them to their ends, and what `reply` has follow; yields them batch by batch."""
        waiting = deque(responses)
        while waiting:
            batch = take(waiting, self.size)
            self.generate(batch)
            waiting.extend(follow for response in batch if (follow := reply(response)) is not None)
            yield batch

    @torch.no_grad()
    def generate(self, responses: Sequence[Response]) -> None:
        """Samples one batch."""
        ids_RL, mask_RL = left_pad([response.prompt for response in responses], self.pad, self.model.device)
        longest = max(response.limit for response in responses)
        draws = [[*response.draws, *[0.0] * (longest - response.limit)] for response in responses]
        chosen = ChosenOnly(self.choose, torch.tensor(draws, dtype=torch.double), ids_RL.shape[1], self.recorder)
        settings = GenerationConfig(
            max_new_tokens=longest,
            do_sample=False,
            eos_token_id=list(self.ends),
            pad_token_id=self.pad,
            use_cache=True,
        )
        # `generate` fills what `settings` leaves open from the model's own file: Qwen2.5's has a repetition penalty.
        own, self.model.generation_config = self.model.generation_config, GenerationConfig()
        try:
            out_RL: Tensor = self.model.generate(  # type: ignore[operator]
                input_ids=ids_RL,
                attention_mask=mask_RL,
                generation_config=settings,
                logits_processor=LogitsProcessorList([chosen]),
                synced_gpus=False,  # on by itself where weights are shared out; then all would sample equally long
            )
        finally:
            self.model.generation_config = own
        for row, (response, ids) in enumerate(zip(responses, out_RL[:, ids_RL.shape[1] :].tolist(), strict=True)):
            for first, token in zip(chosen.firsts, ids, strict=True):
                if not response.ended:
                    response.add(token, self.ends, first + row)
