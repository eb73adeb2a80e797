"""The values that flow through one step.

Axes: B sequences of the step, T response tokens (right-padded), N valid response tokens, K kept tokens, V vocabulary,
D hidden size. All logs are natural; entropies and divergences are in nats.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

StopReason = Literal["eos", "length", "tokens", "context", "turns"]
"""Why a sequence ended: with an end-of-sequence token, or at the maximum length of a response. An agent's trajectory
may also end at its limit of sampled tokens, of its whole length ("context"), or of turns."""


class Turn(NamedTuple):
    """One message of a chat. `role` is system, user or assistant."""

    role: str
    text: str


@dataclass(frozen=True)
class Prompt:
    """One question, before any template, and its gold answer if it has one.

    For an agent, `task` is an `agents.task.Task`, and `text` is its question, for people and for comparisons. `before`
    are the turns of the chat that stand before the question: a system turn and earlier turns.
    """

    id: str
    text: str
    answer: str | None = None
    task: Any = field(default=None, compare=False)
    before: tuple[Turn, ...] = ()

    @property
    def questions(self) -> list[str]:
        """All texts of the user. The question is the last."""
        return [*(turn.text for turn in self.before if turn.role == "user"), self.text]


@dataclass(frozen=True)
class Rollout:
    """Responses sampled by the current student.

    `valid_BT` marks the tokens that the student sampled, end-of-sequence tokens included. In a plain response they are
    the first tokens of the row; in an agent's trajectory texts of tools and users stand between them. `stop_reasons[b]`
    is "length" if the response was cut; it then has no end-of-sequence token. `states_ND`, if recorded, are the
    student's last hidden states that predicted the N valid tokens, in row-major order. `logprobs_N` are the
    log-probabilities (nats) of these tokens by the sampling engine, if it is not the trainer's model. `numbers` holds
    the scores and counts of agents, one mapping for each trajectory.
    """

    prompt_ids: tuple[tuple[int, ...], ...]
    response_BT: Int[Tensor, "B T"]
    valid_BT: Bool[Tensor, "B T"]
    stop_reasons: tuple[StopReason, ...]
    states_ND: Float[Tensor, "N D"] | None = None
    logprobs_N: Float[Tensor, " N"] | None = None
    numbers: tuple[Mapping[str, float], ...] = ()

    def __len__(self) -> int:
        return len(self.prompt_ids)

    @property
    def lengths(self) -> list[int]:
        """The number of tokens that the student sampled in each row."""
        return [int(n) for n in self.valid_BT.sum(-1)]


@dataclass(frozen=True)
class TokenStats:
    """The statistics that a selector may use: fp32 values of each response token, without gradient, (B, T), in nats.

    Only the requested fields are filled. Values of tokens that are not valid are 0 and mean nothing.
    reverse_kl = KL(P_S || P_T), forward_kl = KL(P_T || P_S). `loss` is the divergence that is trained on.
    """

    student_entropy: Float[Tensor, "B T"] | None = None
    teacher_entropy: Float[Tensor, "B T"] | None = None
    reverse_kl: Float[Tensor, "B T"] | None = None
    forward_kl: Float[Tensor, "B T"] | None = None
    jsd: Float[Tensor, "B T"] | None = None
    student_logprob: Float[Tensor, "B T"] | None = None
    teacher_logprob: Float[Tensor, "B T"] | None = None
    loss: Float[Tensor, "B T"] | None = None

    def __getitem__(self, name: str) -> Float[Tensor, "B T"]:
        """The statistic `name`. Raises KeyError if `needs` did not request it."""
        value = getattr(self, name)
        if value is None:
            raise KeyError(f"statistic {name!r} was not computed: add it to the score's `needs`")
        return value

    def computed(self) -> Mapping[str, Float[Tensor, "B T"]]:
        """The computed statistics by name."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def response_ends(valid_BT: Bool[Tensor, "B T"]) -> list[int]:
    """The length of each row up to its last valid token, other tokens in between included."""
    positions_T = torch.arange(1, valid_BT.shape[1] + 1, device=valid_BT.device)
    return (positions_T * valid_BT).amax(1).tolist() if valid_BT.shape[1] else [0] * len(valid_BT)


STATISTICS = frozenset(f.name for f in fields(TokenStats))


def scatter_tokens(values_N: Float[Tensor, " N"], valid_BT: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Put values of the valid tokens, given in row-major order, into a (B, T) tensor. It is 0 elsewhere."""
    out_BT = torch.zeros(valid_BT.shape, dtype=values_N.dtype, device=values_N.device)
    out_BT[valid_BT] = values_N
    return out_BT
