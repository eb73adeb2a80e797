"""One pass over the vocabulary gives log-sum-exps, entropies and KL divergences, and never holds a whole row of logits.

At one token let s and t be the logits of student and teacher, and p and q their softmax over the V entries. Then

    lse(s) = log sum_v e^(s_v)
    H(p) = lse(s) - E_p[s]
    KL(p || q) = E_p[s] - E_p[t] - lse(s) + lse(t)

and the same with the two models exchanged. So the pass needs the two log-sum-exps and the four expectations E_p[s],
E_p[t], E_q[t], E_q[s]. All are sums over v. The pass adds them up over tiles of columns and keeps only a few vectors of
shape (N,). Of the statistics only the JSD needs a second pass.

e^s overflows for large logits. As in online softmax (arXiv 1805.02867), every sum is therefore relative to the maximum
m of the logits seen so far. Where a tile raises the maximum from m to m', old sums are multiplied by e^(m-m') <= 1.
Logits of +-1e4 then neither overflow nor lose precision. The tiles must cover every column exactly once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tipx.vocab.buffers import TileBuffers
from tipx.vocab.heads import Hidden
from tipx.vocab.support import FLOOR, RunningTopK


@dataclass
class OnlineSums:
    """Sums of one model over the columns seen so far, one number for each token.

    Let x be this model's logits and m their maximum so far, y the other model's logits and n their maximum. Then

        z     = sum e^(x-m)
        own   = sum e^(x-m) (x-m)        so E[x] = own / z + m
        cross = sum e^(x-m) (y-n)        so E[y] = cross / z + n
    """

    m_N: Float[Tensor, " N"]
    z_N: Float[Tensor, " N"]
    own_N: Float[Tensor, " N"]
    cross_N: Float[Tensor, " N"]

    @classmethod
    def empty(cls, like_N: Tensor) -> "OnlineSums":
        """The sums before the first tile."""
        return cls(torch.full_like(like_N, FLOOR), *(torch.zeros_like(like_N) for _ in range(3)))

    @property
    def lse_N(self) -> Float[Tensor, " N"]:
        """log sum e^x."""
        return self.m_N + self.z_N.log()

    @property
    def entropy_N(self) -> Float[Tensor, " N"]:
        """Entropy of the softmax, nats. The maximum m cancels: H = lse - E[x] = log z - own / z."""
        return self.z_N.log() - self.own_N / self.z_N

    def kl_to(self, other: "OnlineSums") -> Float[Tensor, " N"]:
        """KL(this || other), nats. Both maxima cancel. Rounding may give a little less than 0, which becomes 0."""
        mean_N = (self.own_N - self.cross_N) / self.z_N
        return (mean_N - self.z_N.log() + other.z_N.log()).clamp(min=0)

    def raise_maximum(
        self, x_NC: Float[Tensor, "N C"], out_NC: Float[Tensor, "N C"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, "N C"]]:
        """Make the sums relative to the maximum of the old columns and of the new tile `x_NC`.

        Returns m - m', which is <= 0, and e^(x-m') of the tile, written to `out_NC`. `x_NC` becomes x - m' in place.
        The new columns are not added yet. `cross` also depends on the other model's maximum, which the caller corrects.
        """
        m_N = torch.maximum(self.m_N, x_NC.amax(-1))
        rise_N = self.m_N - m_N
        keep_N = rise_N.exp()
        self.m_N, self.z_N, self.cross_N = m_N, keep_N * self.z_N, keep_N * self.cross_N
        # x - m' = (x - m) + (m - m'), so the first moment gets the shift times the (already rescaled) sum z.
        self.own_N = keep_N * self.own_N + rise_N * self.z_N
        # Shifted entries are <= 0. The clamp turns masked ones (-inf) into numbers, of weight exactly 0.
        x_NC.sub_(m_N[:, None]).clamp_(min=FLOOR)
        return rise_N, torch.exp(x_NC, out=out_NC)


def sum_one_model(
    hidden: Hidden, columns: Iterable[slice], buffers: TileBuffers, top: RunningTopK | None = None
) -> OnlineSums:
    """The sums of one model, with `cross` left at 0. `top` is updated with every tile, if given."""
    sums: OnlineSums | None = None
    for part in columns:
        x_NC = hidden.logits_tile(part, buffers, "student")
        if top is not None:
            top.update(x_NC, x_NC, part.start)
        sums = sums or OnlineSums.empty(x_NC[:, 0])
        _, e_NC = sums.raise_maximum(x_NC, buffers.like("p", x_NC))
        sums.z_N = sums.z_N + e_NC.sum(-1)
        sums.own_N = sums.own_N + buffers.row_dot(e_NC, x_NC)
    if sums is None:
        raise ValueError("the vocabulary has no entries")
    return sums


def sum_both_models(
    student: Hidden,
    teacher: Hidden,
    columns: Iterable[slice],
    buffers: TileBuffers,
    tops: Sequence[RunningTopK] = (),
) -> tuple[OnlineSums, OnlineSums]:
    """The sums of student and teacher, `cross` included, from one head product of each. Updates each of `tops`."""
    student_sums: OnlineSums | None = None
    teacher_sums: OnlineSums | None = None
    for part in columns:
        s_NC, t_NC = student.logits_tile(part, buffers, "student"), teacher.logits_tile(part, buffers, "teacher")
        for top in tops:
            top.update(s_NC, t_NC, part.start)
        student_sums = student_sums or OnlineSums.empty(s_NC[:, 0])
        teacher_sums = teacher_sums or OnlineSums.empty(t_NC[:, 0])
        rise_s_N, p_NC = student_sums.raise_maximum(s_NC, buffers.like("p", s_NC))
        rise_t_N, q_NC = teacher_sums.raise_maximum(t_NC, buffers.like("q", t_NC))
        # The other model's maximum rose too: correct the old part of `cross` by it, before z gets the new columns.
        student_sums.cross_N = student_sums.cross_N + rise_t_N * student_sums.z_N + buffers.row_dot(p_NC, t_NC)
        teacher_sums.cross_N = teacher_sums.cross_N + rise_s_N * teacher_sums.z_N + buffers.row_dot(q_NC, s_NC)
        student_sums.z_N = student_sums.z_N + p_NC.sum(-1)
        teacher_sums.z_N = teacher_sums.z_N + q_NC.sum(-1)
        student_sums.own_N = student_sums.own_N + buffers.row_dot(p_NC, s_NC)
        teacher_sums.own_N = teacher_sums.own_N + buffers.row_dot(q_NC, t_NC)
    if student_sums is None or teacher_sums is None:
        raise ValueError("the vocabulary has no entries")
    return student_sums, teacher_sums
