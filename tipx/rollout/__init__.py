"""Sampling responses from the current student; backends behind one protocol."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tipx.noise import Noise
from tipx.types import Rollout


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

    def __call__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[int],
        noise: Noise,
        *,
        states: bool = False,
        limits: Sequence[int] | None = None,
    ) -> Rollout:
        """One response for each prompt. `rows` are the prompts' indices in the whole step: draws are keyed by them.

        `states`: record the student's hidden states. `limits`: the longest response of each prompt, at least 1, where
        that is less than `max_new_tokens`.
        """
        ...
