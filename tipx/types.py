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
"""Why a sequence ended: by itself, or at the limit of one response. An agent's trajectory also at its limit of sampled
tokens, of the whole text, or of turns."""


class Turn(NamedTuple):
    """What the system, the user or the assistant says in a chat."""

    role: str
    text: str


@dataclass(frozen=True)
class Prompt:
    """One question, before any template, and its gold answer if it has one.

    `task` is an `agents.task.Task` where an agent is asked; `text` is then its question, for people and comparisons.
    `before` are the turns of a chat that stand before the question: the system's, and earlier ones.
    """

    id: str
    text: str
    answer: str | None = None
    task: Any = field(default=None, compare=False)
    before: tuple[Turn, ...] = ()

    @property
    def questions(self) -> list[str]:
        """Everything the user asks, the question last."""
        return [*(turn.text for turn in self.before if turn.role == "user"), self.text]


@dataclass(frozen=True)
class Rollout:
    """Responses sampled by the current student.

    `valid_BT` marks tokens the student sampled, its end-of-sequence tokens included. They are the first ones of a row;
    in an agent's trajectory what tools and users say stands between them. `stop_reasons[b]` is "length" when the
    response was cut, so it does not end with an end-of-sequence token. `states_ND`, if recorded, are the student's last
    hidden states that predicted the N valid tokens, in row-major order; `logprobs_N` are the sampling engine's own
    log-probabilities of them, nats, if it is not the trainer's model. `numbers` holds an agent's scores and counts, one
    mapping a trajectory.
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
        """Tokens the student sampled in each row."""
        return [int(n) for n in self.valid_BT.sum(-1)]


@dataclass(frozen=True)
class TokenStats:
    """What a selector may see: detached fp32 statistics of each response token, shape (B, T), in nats.

    Only the fields that were asked for are filled. Values off `valid` are 0 and mean nothing.
    reverse_kl = KL(P_S || P_T), forward_kl = KL(P_T || P_S); `loss` is the divergence being trained on.
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
        """The statistic `name`; raises KeyError when it was not asked for in `needs`."""
        value = getattr(self, name)
        if value is None:
            raise KeyError(f"statistic {name!r} was not computed: add it to the score's `needs`")
        return value

    def computed(self) -> Mapping[str, Float[Tensor, "B T"]]:
        """The computed statistics by name."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in found.items() if value is not None}


def response_ends(valid_BT: Bool[Tensor, "B T"]) -> list[int]:
    """Where each response ends: after its last valid token, whatever is not valid before it."""
    places_T = torch.arange(1, valid_BT.shape[1] + 1, device=valid_BT.device)
    return (places_T * valid_BT).amax(1).tolist() if valid_BT.shape[1] else [0] * len(valid_BT)


STATISTICS = frozenset(f.name for f in fields(TokenStats))


def scatter_tokens(values_N: Float[Tensor, " N"], valid_BT: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Put values of the valid tokens, in row-major order, back to their places; 0 elsewhere."""
    out_BT = torch.zeros(valid_BT.shape, dtype=values_N.dtype, device=values_N.device)
    out_BT[valid_BT] = values_N
    return out_BT
