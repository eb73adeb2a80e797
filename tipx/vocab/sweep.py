"""One pass over the vocabulary that leaves, for each token, everything a log-sum-exp and first moments can give.

With s, t the logits of student and teacher and p, q their softmax: log-sum-exps, E_p[s], E_q[t], E_p[t], E_q[s].
Entropies and both KL divergences follow, so that no statistic but the JSD needs a second pass.

Sums are kept relative to running maxima, as in online softmax (arXiv 1805.02867), so that logits of +-1e4 neither
overflow nor lose precision.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tipx.vocab.buffers import Buffers
from tipx.vocab.heads import Hidden
from tipx.vocab.support import FLOOR, Leaders


@dataclass
class Side:
    """Sums of one model over the columns seen.

    With its maximum m: z = sum e^(x-m), own = sum e^(x-m) (x-m), and cross = sum e^(x-m) (y-n) with the other model's
    logits y and maximum n.
    """

    m_N: Float[Tensor, " N"]
    z_N: Float[Tensor, " N"]
    own_N: Float[Tensor, " N"]
    cross_N: Float[Tensor, " N"]

    @classmethod
    def empty(cls, like_N: Tensor) -> "Side":
        return cls(torch.full_like(like_N, FLOOR), *(torch.zeros_like(like_N) for _ in range(3)))

    @property
    def lse_N(self) -> Float[Tensor, " N"]:
        """log sum e^x."""
        return self.m_N + self.z_N.log()

    @property
    def entropy_N(self) -> Float[Tensor, " N"]:
        """H of the softmax, nats."""
        return self.z_N.log() - self.own_N / self.z_N

    def kl_to(self, other: "Side") -> Float[Tensor, " N"]:
        """KL(this || other), nats; rounding below 0 is cut off."""
        mean_N = (self.own_N - self.cross_N) / self.z_N
        return (mean_N - self.z_N.log() + other.z_N.log()).clamp(min=0)

    def rise(
        self, x_NC: Float[Tensor, "N C"], out_NC: Float[Tensor, "N C"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, "N C"]]:
        """Move to the maximum of a new tile too; returns how far (<= 0) and e^(x-m). Shifts `x_NC` in place."""
        m_N = torch.maximum(self.m_N, x_NC.amax(-1))
        rise_N = self.m_N - m_N
        keep_N = rise_N.exp()
        self.m_N, self.z_N, self.cross_N = m_N, keep_N * self.z_N, keep_N * self.cross_N
        self.own_N = keep_N * self.own_N + rise_N * self.z_N
        # Shifted entries are <= 0. The clamp turns masked ones (-inf) into numbers, of weight exactly 0.
        x_NC.sub_(m_N[:, None]).clamp_(min=FLOOR)
        return rise_N, torch.exp(x_NC, out=out_NC)


def sweep_one(hidden: Hidden, columns: Iterable[slice], buffers: Buffers, leaders: Leaders | None = None) -> Side:
    """The sums of one model; fills `leaders`, which sees this model as both, on the way."""
    side: Side | None = None
    for part in columns:
        x_NC = hidden.tile(part, buffers, "student")
        if leaders is not None:
            leaders.see(x_NC, x_NC, part.start)
        side = side or Side.empty(x_NC[:, 0])
        _, e_NC = side.rise(x_NC, buffers.tile("p", x_NC))
        side.z_N = side.z_N + e_NC.sum(-1)
        side.own_N = side.own_N + buffers.dot(e_NC, x_NC)
    if side is None:
        raise ValueError("the vocabulary has no entries")
    return side


def sweep_two(
    student: Hidden,
    teacher: Hidden,
    columns: Iterable[slice],
    buffers: Buffers,
    leaders: Sequence[Leaders] = (),
) -> tuple[Side, Side]:
    """The sums of both models, cross terms included, from one product of each; fills `leaders` on the way."""
    ours: Side | None = None
    theirs: Side | None = None
    for part in columns:
        s_NC, t_NC = student.tile(part, buffers, "student"), teacher.tile(part, buffers, "teacher")
        for one in leaders:
            one.see(s_NC, t_NC, part.start)
        ours, theirs = ours or Side.empty(s_NC[:, 0]), theirs or Side.empty(t_NC[:, 0])
        rise_s_N, p_NC = ours.rise(s_NC, buffers.tile("p", s_NC))
        rise_t_N, q_NC = theirs.rise(t_NC, buffers.tile("q", t_NC))
        ours.cross_N = ours.cross_N + rise_t_N * ours.z_N + buffers.dot(p_NC, t_NC)
        theirs.cross_N = theirs.cross_N + rise_s_N * theirs.z_N + buffers.dot(q_NC, s_NC)
        ours.z_N, theirs.z_N = ours.z_N + p_NC.sum(-1), theirs.z_N + q_NC.sum(-1)
        ours.own_N = ours.own_N + buffers.dot(p_NC, s_NC)
        theirs.own_N = theirs.own_N + buffers.dot(q_NC, t_NC)
    if ours is None or theirs is None:
        raise ValueError("the vocabulary has no entries")
    return ours, theirs
