"""Divergences over the likeliest entries only, in tiles.

Axes: N tokens, V vocabulary, C columns of one tile, k entries a model leads with, U entries of the support.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tipx.divergences import TopKDivergence, repeated

FLOOR = -1e30  # stands for -inf where a difference must stay a number


class Leaders:
    """The k highest logits seen of one model, and the other's logits of the same entries."""

    def __init__(self, k: int, role: Literal["student", "teacher"]) -> None:
        self.k, self.role = k, role
        self.own_Nk: Tensor | None = None
        self.other_Nk: Tensor | None = None
        self.ids_Nk: Tensor | None = None

    def see(self, student_NC: Float[Tensor, "N C"], teacher_NC: Float[Tensor, "N C"], start: int) -> None:
        """Take in a tile whose first column is entry `start`."""
        own_NC, other_NC = (student_NC, teacher_NC) if self.role == "student" else (teacher_NC, student_NC)
        top = own_NC.topk(min(self.k, own_NC.shape[-1]))
        own_Nk, other_Nk, ids_Nk = top.values, other_NC.gather(-1, top.indices), top.indices + start
        if self.own_Nk is not None and self.other_Nk is not None and self.ids_Nk is not None:
            own_Nk = torch.cat([self.own_Nk, own_Nk], -1)
            best = own_Nk.topk(min(self.k, own_Nk.shape[-1]))
            own_Nk = best.values
            other_Nk = torch.cat([self.other_Nk, other_Nk], -1).gather(-1, best.indices)
            ids_Nk = torch.cat([self.ids_Nk, ids_Nk], -1).gather(-1, best.indices)
        self.own_Nk, self.other_Nk, self.ids_Nk = own_Nk, other_Nk, ids_Nk


@dataclass(frozen=True)
class Support:
    """The entries that count for each token, and log P_S - log P_T of all others together; None if these do not."""

    ids_NU: Int[Tensor, "N U"]
    tail_N: Float[Tensor, " N"] | None

    def __getitem__(self, index: Tensor | slice) -> "Support":
        return Support(self.ids_NU[index], None if self.tail_N is None else self.tail_N[index])

    @classmethod
    def joined(cls, parts: Sequence["Support"]) -> "Support":
        """Row tiles put together."""
        tails = [part.tail_N for part in parts if part.tail_N is not None]
        return cls(torch.cat([part.ids_NU for part in parts]), torch.cat(tails) if tails else None)

    def confine(self, log_p_NC: Float[Tensor, "N C"], log_q_NC: Float[Tensor, "N C"], columns: slice) -> None:
        """Gives entries outside it, in place, the log-probabilities with which they have their part in the gradient.

        A divergence of two distributions has a gradient p f(log p - log q) - p slope: entries of the tail keep their
        own p, and all have the tail's ratio. Without a tail their p is 0.
        """
        outside_NC = ~self.among(columns)
        if self.tail_N is None:
            log_p_NC.masked_fill_(outside_NC, FLOOR)
            log_q_NC.masked_fill_(outside_NC, FLOOR)
        else:
            log_q_NC.copy_(log_q_NC.where(~outside_NC, log_p_NC - self.tail_N[:, None]))

    def among(self, columns: slice) -> Bool[Tensor, "N C"]:
        """Which of the columns are in it."""
        width = columns.stop - columns.start
        place_NU = self.ids_NU - columns.start
        # What is elsewhere goes into one more column, which is cut off.
        place_NU = place_NU.where((place_NU >= 0) & (place_NU < width), width)
        mask_NC = torch.zeros(len(place_NU), width + 1, dtype=torch.bool, device=place_NU.device)
        return mask_NC.scatter_(1, place_NU, value=True)[:, :width]


def support_of(
    rule: TopKDivergence, leaders: Sequence[Leaders], lse_NN: tuple[Tensor, Tensor]
) -> tuple[Support, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The support, (divergence, slope), and the log-sum-exps of student and teacher that make logits probabilities.

    `leaders` are those of the models that name the support; `lse_NN` are over V. Without a tail probabilities are over
    the support.
    """
    ids_NU = joined([one.ids_Nk for one in leaders])
    raw_NU = (
        joined([one.own_Nk if one.role == "student" else one.other_Nk for one in leaders]),
        joined([one.own_Nk if one.role == "teacher" else one.other_Nk for one in leaders]),
    )
    if not rule.tail:
        twice_NU = repeated(ids_NU)
        lse_NN = (
            raw_NU[0].masked_fill(twice_NU, -math.inf).logsumexp(-1),
            raw_NU[1].masked_fill(twice_NU, -math.inf).logsumexp(-1),
        )
    s_NB, t_NB = rule.reduced(raw_NU[0] - lse_NN[0][:, None], raw_NU[1] - lse_NN[1][:, None], ids_NU)
    tail_N = s_NB[:, -1] - t_NB[:, -1] if rule.tail else None
    return Support(ids_NU, tail_N), (rule.base(s_NB, t_NB), rule.base.slope(s_NB, t_NB)), lse_NN


def joined(parts: Sequence[Tensor | None]) -> Tensor:
    """Side by side."""
    return torch.cat([part for part in parts if part is not None], -1)
