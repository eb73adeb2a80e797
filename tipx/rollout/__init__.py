"""Sampling responses from the current student; backends behind one protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Protocol, runtime_checkable

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tipx.errors import ConfigError
from tipx.noise import Noise
from tipx.types import Rollout


@dataclass(frozen=True, kw_only=True)
class RolloutRequest:
    """What a backend is asked for: one response to each of R prompts, in their order.

    `prompts` are R lists of token ids, none of them empty, of any lengths and without padding: the chat template is
    in them already. `rows` are the R places of these prompts in the whole step, counted over all processes; every
    random draw comes from `noise` and is keyed by its row, so that a response depends neither on the batch nor on the
    process that it is sampled in. `limits` are the R longest responses, in tokens and at least 1; None is the backend's
    own `max_new_tokens` for all, and the smaller of both counts. With `with_states` the rollout carries the student's
    hidden states; only a backend that `records_states` is asked for them.
    """

    prompts: Sequence[Sequence[int]]
    rows: Sequence[int]
    noise: Noise
    limits: Sequence[int] | None = None
    with_states: bool = False

    def limits_within(self, max_new_tokens: int) -> list[int]:
        """The longest response of each prompt, in tokens, by a backend with this limit of its own."""
        if self.limits is None:
            return [max_new_tokens] * len(self.prompts)
        return [min(limit, max_new_tokens) for limit in self.limits]


@runtime_checkable
class Rollouts(Protocol):
    """A rollout backend."""

    @property
    def max_new_tokens(self) -> int:
        """The longest response, in tokens."""
        ...

    @property
    def records_states(self) -> bool:
        """Whether it can leave the student's hidden states (`Rollout.states_ND`)."""
        ...

    @property
    def gives_logprobs(self) -> bool:
        """Whether its own log-probabilities come with a rollout (`Rollout.logprobs_N`), to be compared."""
        ...

    def __call__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: RolloutRequest) -> Rollout:
        """One response for each prompt of the request."""
        ...


def check_call(backend: Rollouts) -> None:
    """Raises ConfigError for a backend that takes other arguments: before requests there were seven of them."""
    try:
        signature(backend).bind("model", "tokenizer", "request")
    except TypeError as error:
        raise ConfigError(
            f"rollout: {type(backend).__name__} takes other arguments than a backend is called with ({error}); write "
            "`def __call__(self, model, tokenizer, request)`, and read prompts, rows, noise, limits and with_states "
            "from the request"
        ) from error
