"""Divergences over the likeliest entries only, in tiles.

Axes: N tokens, V vocabulary, C columns of one tile, k likeliest entries of one model, U entries of the support.

`TopKDivergence` looks at a support: the k likeliest entries of one model, or those of both. During the pass over the
vocabulary a `RunningTopK` keeps these entries and both models' logits at them, so the divergence itself costs no second
pass. There are two ways to make distributions of them.

With a tail, all other entries together are one more entry, of probability 1 - sum_U p. The divergence depends on an
entry v of the tail only through that sum. So df/dp_v is the same for all of them, and is a function of the tail's ratio
P_tail / Q_tail. Without a tail, both models are renormalised over the support, and p is 0 outside of it.

The backward pass goes over all V columns in tiles, with the elementwise gradient of the base divergence. Outside the
support log q (or both) is replaced so that this gradient comes out right, by `fold.compute_tile_gradient`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tipx.divergences import TopKDivergence, mark_repeats


class RunningTopK:
    """The k highest logits of one model (`role`) over the columns seen so far, and the other model's logits there."""

    def __init__(self, k: int, role: Literal["student", "teacher"]) -> None:
        self.k, self.role = k, role
        self.own_logits_Nk: Tensor | None = None
        self.other_logits_Nk: Tensor | None = None
        self.ids_Nk: Tensor | None = None

    def update(self, student_NC: Float[Tensor, "N C"], teacher_NC: Float[Tensor, "N C"], start: int) -> None:
        """Take in a tile of logits whose first column is entry `start` of the vocabulary."""
        own_NC, other_NC = (student_NC, teacher_NC) if self.role == "student" else (teacher_NC, student_NC)
        top = own_NC.topk(min(self.k, own_NC.shape[-1]))
        own_Nk, other_Nk, ids_Nk = top.values, other_NC.gather(-1, top.indices), top.indices + start
        if self.own_logits_Nk is not None and self.other_logits_Nk is not None and self.ids_Nk is not None:
            # The top k of the whole are among the top k of the old columns and the top k of the new ones.
            own_Nk = torch.cat([self.own_logits_Nk, own_Nk], -1)
            best = own_Nk.topk(min(self.k, own_Nk.shape[-1]))
            own_Nk = best.values
            other_Nk = torch.cat([self.other_logits_Nk, other_Nk], -1).gather(-1, best.indices)
            ids_Nk = torch.cat([self.ids_Nk, ids_Nk], -1).gather(-1, best.indices)
        self.own_logits_Nk, self.other_logits_Nk, self.ids_Nk = own_Nk, other_Nk, ids_Nk


@dataclass(frozen=True)
class Support:
    """The entries that a token's divergence looks at.

    `tail_N` is log P_S(tail) - log P_T(tail), where the tail is all other entries together. It is None for a divergence
    without a tail.

    The gradient of the base divergence at entry v is p_v f(log p_v - log q_v) - p_v slope. An entry of the tail keeps
    its own p_v and gets the log-ratio of the whole tail. Without a tail the p_v of an entry outside becomes 0.
    """

    ids_NU: Int[Tensor, "N U"]
    tail_N: Float[Tensor, " N"] | None

    def __getitem__(self, index: Tensor | slice) -> "Support":
        return Support(self.ids_NU[index], None if self.tail_N is None else self.tail_N[index])

    @classmethod
    def concatenate(cls, parts: Sequence["Support"]) -> "Support":
        """The supports of several row tiles as one."""
        tails = [part.tail_N for part in parts if part.tail_N is not None]
        return cls(torch.cat([part.ids_NU for part in parts]), torch.cat(tails) if tails else None)

    def mark_outside(self, columns: slice) -> Bool[Tensor, "N C"]:
        """True where a column of the tile is not in the token's support."""
        width = columns.stop - columns.start
        column_NU = self.ids_NU - columns.start
        # Entries of other tiles go into one more column, which is cut off.
        column_NU = column_NU.where((column_NU >= 0) & (column_NU < width), width)
        outside_NC = torch.ones(len(column_NU), width + 1, dtype=torch.bool, device=column_NU.device)
        return outside_NC.scatter_(1, column_NU, value=False)[:, :width]


def build_support(
    rule: TopKDivergence, tops: Sequence[RunningTopK], lse_NN: tuple[Tensor, Tensor]
) -> tuple[Support, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The support, (divergence, slope), and the log-sum-exps of (student, teacher) that normalise their logits.

    `tops` belong to the models that name the support. `lse_NN` are over V. The returned ones are over V if there is a
    tail, else over the support.
    """
    ids_NU = concatenate_columns([top.ids_Nk for top in tops])
    logits_NU = (
        concatenate_columns([top.own_logits_Nk if top.role == "student" else top.other_logits_Nk for top in tops]),
        concatenate_columns([top.own_logits_Nk if top.role == "teacher" else top.other_logits_Nk for top in tops]),
    )
    if not rule.tail:
        # With `union` an entry may be named by both models: it counts once.
        repeat_NU = mark_repeats(ids_NU)
        lse_NN = (
            logits_NU[0].masked_fill(repeat_NU, -math.inf).logsumexp(-1),
            logits_NU[1].masked_fill(repeat_NU, -math.inf).logsumexp(-1),
        )
    s_NB, t_NB = rule.restrict_to_support(logits_NU[0] - lse_NN[0][:, None], logits_NU[1] - lse_NN[1][:, None], ids_NU)
    tail_N = s_NB[:, -1] - t_NB[:, -1] if rule.tail else None
    return Support(ids_NU, tail_N), (rule.base(s_NB, t_NB), rule.base.slope(s_NB, t_NB)), lse_NN


def concatenate_columns(parts: Sequence[Tensor | None]) -> Tensor:
    """Parts of the same rows side by side."""
    return torch.cat([part for part in parts if part is not None], -1)
