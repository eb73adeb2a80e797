"""Sampling token by token over a model's own cache; finished rows make room for others.

Axes: R rows of a batch, W positions of their texts so far, N new ones, V vocabulary, D hidden size.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel

from tipx.noise import Noise
from tipx.rollout.cache import Architecture, copy_rows, cut_left, join_caches, reorder_positions, select_rows
from tipx.rollout.collect import left_pad
from tipx.rollout.recorder import Recorder

Choose = Callable[[Float[Tensor, "R V"], Float[Tensor, " R"]], Int[Tensor, " R"]]
"""Logits and one draw for each row to tokens."""
SHARE = 4
"""Ended rows make room when they are one in so many: the cache of all others is copied each time."""


@dataclass(eq=False)
class Response:
    """One response as it grows: at most `limit` token ids after a prompt, by the draws of its row.

    `places` say where the recorder has the hidden state that predicted each of them.
    """

    prompt: Sequence[int]
    row: int
    noise: Noise
    limit: int
    ids: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    ended: bool = False

    @cached_property
    def draws(self) -> list[float]:
        """One for each token."""
        draws: list[float] = self.noise.draw_rows([self.row], self.limit)[0].tolist()
        return draws

    def next_draw(self) -> float:
        """That of the next token."""
        return 0.0 if self.ended else self.draws[len(self.ids)]

    def is_early(self) -> bool:
        """Whether it may still take three times as long as it took so far."""
        return 4 * len(self.ids) <= self.limit

    def add(self, token: int, ends: frozenset[int], place: int) -> bool:
        """The next token; whether it was the last."""
        self.ids.append(token)
        self.places.append(place)
        self.ended = token in ends or len(self.ids) == self.limit
        if self.ended:
            self.draws.clear()  # of thousands of responses they take more memory than their ids
        return self.ended


Reply = Callable[[Response], Response | None]
"""What follows an ended response: none, or one whose prompt begins with this one's prompt and ids."""


@dataclass
class Batch:
    """R rows at work: their texts in the cache, and the logits of what comes next in each.

    `mask_RW` is 0 at padding, of which there is some if `padded`, and 1 at the `length_R` tokens of a row. `grows_R` is
    0 where a response has ended: what else is read there takes no more places, of which a model may have no more.
    `states_RD` are the hidden states that the logits come from, where they are recorded.
    """

    responses: list[Response]
    cache: DynamicCache
    mask_RW: Int[Tensor, "R W"]
    length_R: Int[Tensor, " R"]
    padded: bool = False
    grows_R: Int[Tensor, " R"] = field(init=False)
    logits_RV: Float[Tensor, "R V"] = field(init=False)
    states_RD: Float[Tensor, "R D"] | None = None

    def __post_init__(self) -> None:
        self.grows_R = torch.ones_like(self.length_R)


@dataclass
class Decoder:
    """How responses are sampled: by `choose`, up to `size` at once, until one of `ends`.

    Each row's logits depend on its own text alone, so rows may come and go; only rounding knows of the others.
    """

    model: PreTrainedModel
    architecture: Architecture
    choose: Choose
    ends: frozenset[int]
    pad: int
    size: int
    recorder: Recorder | None

    def run(self, responses: Iterable[Response], reply: Reply) -> Iterator[list[Response]]:
        """Samples all of them to their ends, and what `reply` has follow; yields some as they have ended."""
        waiting, batch = deque(responses), None
        while waiting or batch is not None:
            batch, ended = self.advance(batch, waiting, reply)
            yield ended

    @torch.inference_mode()
    def advance(
        self, batch: Batch | None, waiting: deque[Response], reply: Reply
    ) -> tuple[Batch | None, list[Response]]:
        """Samples until some have ended; the batch that goes on, and these."""
        if batch is None:
            batch = self.start(take(waiting, self.size))
        while True:
            tokens_R = self.sample(batch)
            ended = [response for response in batch.responses if response.ended]
            if len(ended) * SHARE >= len(batch.responses):
                return self.change(batch, tokens_R, waiting, reply), ended
            self.read(batch, tokens_R[:, None])

    def start(self, responses: list[Response]) -> Batch:
        """A batch of new responses. Each prompt is read once, for all the rows that have it."""
        prompts = list(dict.fromkeys(tuple(response.prompt) for response in responses))
        row_of = {prompt: row for row, prompt in enumerate(prompts)}
        ids_RN, mask_RN = left_pad(prompts, self.pad, self.model.device)
        batch = Batch(responses, self.architecture.make_cache(), mask_RN[:, :0], torch.zeros_like(mask_RN[:, 0]))
        self.read(batch, ids_RN, mask_RN)
        if len(prompts) < len(responses):
            self.select(batch, [row_of[tuple(response.prompt)] for response in responses])
            batch.responses = responses
        return batch

    def read(self, batch: Batch, ids_RN: Int[Tensor, "R N"], mask_RN: Int[Tensor, "R N"] | None = None) -> None:
        """A forward pass over what comes next in each row; without a mask it is one token."""
        takes, name = self.architecture.takes, self.architecture.cache_name
        first = batch.mask_RW.shape[1] == 0
        if mask_RN is None:
            mask_RN, place_RN = torch.ones_like(ids_RN), batch.length_R[:, None]
        else:
            place_RN = (batch.length_R[:, None] + mask_RN.cumsum(-1) - 1).clamp(min=0)
            batch.padded = batch.padded or not bool(mask_RN.all())
        batch.mask_RW = torch.cat([batch.mask_RW, mask_RN], -1)
        batch.length_R = place_RN[:, -1] + batch.grows_R
        more: dict[str, Any] = {name: batch.cache}
        if "position_ids" in takes:
            more["position_ids"] = place_RN
        if "logits_to_keep" in takes:
            more["logits_to_keep"] = 1
        # A recurrent model has no padding in its cache: it takes a mask for what it reads now.
        if batch.padded and (first or name == "past_key_values"):
            more["attention_mask"] = batch.mask_RW
        out = self.model(input_ids=ids_RN, use_cache=True, **more)
        batch.logits_RV = out.logits[:, -1]
        if self.recorder is not None:
            batch.states_RD = self.recorder.newest_RD

    def sample(self, batch: Batch) -> Int[Tensor, " R"]:
        """The next token of each row; what an ended one is given is nobody's."""
        draws_R = torch.tensor([response.next_draw() for response in batch.responses], dtype=torch.double)
        tokens_R = self.choose(batch.logits_RV, draws_R)
        batch.logits_RV = batch.logits_RV.new_empty(len(tokens_R), 0)  # they would be there beside the next
        first = 0 if batch.states_RD is None or self.recorder is None else self.recorder.keep(batch.states_RD)
        for row, (response, token) in enumerate(zip(batch.responses, tokens_R.tolist(), strict=True)):
            if not response.ended and response.add(token, self.ends, first + row):
                batch.grows_R[row] = 0
        return tokens_R

    def change(self, batch: Batch, tokens_R: Int[Tensor, " R"], waiting: deque[Response], reply: Reply) -> Batch | None:
        """The rows that go on, with their token read, and others in the place of those that ended; None for none.

        New responses are padded to the length of those beside them. So they join where half of the rows are free and
        the others may take long; where these are soon done, they are waited for.
        """
        going = [row for row, response in enumerate(batch.responses) if not response.ended]
        follows = [
            (row, follow)
            for row, response in enumerate(batch.responses)
            if response.ended and (follow := reply(response)) is not None
        ]
        parts = []
        if not self.architecture.joinable:
            waiting.extendleft(follow for _, follow in reversed(follows))
        else:
            if follows:
                parts.append(self.resume(batch, follows))
            room = self.size - len(going) - len(follows)
            early = follows or any(batch.responses[row].is_early() for row in going)
            if waiting and (room == self.size or (early and 2 * room >= self.size)):
                parts.append(self.start(take(waiting, room)))
        if going:
            self.select(batch, going)
            self.read(batch, tokens_R[going, None])
            parts.append(batch)
        return join_batches(parts) if parts else None

    def select(self, batch: Batch, rows: list[int]) -> None:
        """Leaves these rows in a batch, in this order; some may be there several times."""
        index_R = torch.tensor(rows, device=batch.mask_RW.device)
        batch.responses = [batch.responses[row] for row in rows]
        select_rows(batch.cache, index_R)
        batch.mask_RW, batch.length_R = batch.mask_RW[index_R], batch.length_R[index_R]
        batch.grows_R = torch.ones_like(batch.length_R)
        batch.logits_RV = batch.logits_RV[index_R]
        if batch.states_RD is not None:
            batch.states_RD = batch.states_RD[index_R]
        if self.architecture.joinable:
            width = int(batch.length_R.max())
            cut_left(batch.cache, width)
            batch.mask_RW = batch.mask_RW[:, -width:]
        batch.padded = not bool(batch.mask_RW.all())

    def resume(self, batch: Batch, follows: Sequence[tuple[int, Response]]) -> Batch:
        """Responses that follow those in these rows: the cache has what both begin with, and the rest is read."""
        index_R = torch.tensor([row for row, _ in follows], device=batch.mask_RW.device)
        # The last token of an ended response is not in the cache, or with others behind it that are nobody's.
        known = [len(batch.responses[row].prompt) + len(batch.responses[row].ids) - 1 for row, _ in follows]
        length_R = torch.tensor(known, device=index_R.device)
        mask_RW = batch.mask_RW[index_R]
        mask_RW = mask_RW * (mask_RW.cumsum(-1) <= length_R[:, None])
        responses = [follow for _, follow in follows]
        resumed = Batch(responses, copy_rows(batch.cache, index_R), mask_RW, length_R, padded=True)
        unread = [response.prompt[n:] for response, n in zip(responses, known, strict=True)]
        self.read(resumed, *left_pad(unread, self.pad, index_R.device))
        # Padding between what was known and what is new goes to the left, as any other.
        order_RW = resumed.mask_RW.argsort(stable=True)[:, -int(resumed.length_R.max()) :]
        reorder_positions(resumed.cache, order_RW)
        resumed.mask_RW = resumed.mask_RW.gather(-1, order_RW)
        resumed.padded = not bool(resumed.mask_RW.all())
        return resumed


def take(waiting: deque[Response], most: int) -> list[Response]:
    """The first of those that wait."""
    return [waiting.popleft() for _ in range(min(most, len(waiting)))]


def join_batches(parts: Sequence[Batch]) -> Batch:
    """One batch of the rows of all, padded on the left to the longest."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.mask_RW.shape[1] for part in parts)
    joined = Batch(
        [response for part in parts for response in part.responses],
        join_caches([part.cache for part in parts]),
        torch.cat([pad(part.mask_RW, (width - part.mask_RW.shape[1], 0)) for part in parts]),
        torch.cat([part.length_R for part in parts]),
    )
    joined.padded = not bool(joined.mask_RW.all())
    joined.logits_RV = torch.cat([part.logits_RV for part in parts])
    states = [part.states_RD for part in parts if part.states_RD is not None]
    joined.states_RD = torch.cat(states) if states else None
    return joined
