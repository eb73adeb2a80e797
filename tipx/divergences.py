"""Per-token divergences between next-token distributions, in nats.

Axes: N tokens, V vocabulary entries, U entries of a support, B = U, or U + 1 with a tail.

Arguments are log-probabilities of student (P_S) and teacher (P_T), shape (N, V). The result has shape (N,). Masked
entries have probability 0 (log-probability -inf). They contribute 0 and have a finite gradient.
"""

import math
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tipx.spec import Count, Open01, spec

LogProbs = Float[Tensor, "N V"]


@runtime_checkable
class TokenDivergence(Protocol):
    """A divergence D that can be trained on in tiles of the vocabulary.

    `tipx.vocab.loss` computes the gradient of D at the student's logits s by hand. With the student's probabilities p
    and f_v = dD/dp_v it is

        dD/ds_v = p_v f_v - p_v slope        where slope = sum_v p_v f_v.

    A constant that is added to every f_v changes the slope by the same constant and drops out. D and the slope must be
    sums over vocabulary entries, so that a tile of columns gives its part of each.
    """

    def __call__(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        """The divergence of each row. If only some columns are given, their part of the sum."""
        ...

    def from_sums(
        self, reverse_kl_N: Float[Tensor, " N"], forward_kl_N: Float[Tensor, " N"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]] | None:
        """(divergence, slope) if they follow from the two KLs; None if they need a pass over the vocabulary."""
        ...

    def slope(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        """sum_v p_v f_v of each row. If only some columns are given, their part of the sum."""
        ...

    def gradient(
        self, student_NV: LogProbs, teacher_NV: LogProbs, slope_N1: Float[Tensor, "N 1"]
    ) -> Float[Tensor, "N V"]:
        """p_v f_v - p_v slope of each entry. It may overwrite its arguments."""
        ...


def expectation(log_weight_NV: LogProbs, value_NV: Float[Tensor, "N V"]) -> Float[Tensor, " N"]:
    """Sum over V of exp(log_weight) * value. An entry of weight 0 adds 0, even if its value is infinite."""
    empty_NV = log_weight_NV == -math.inf
    return (log_weight_NV.exp() * value_NV.masked_fill(empty_NV, 0.0)).sum(-1)


def kl(log_p_NV: LogProbs, log_q_NV: LogProbs) -> Float[Tensor, " N"]:
    """KL(p || q), nats."""
    both_empty_NV = log_p_NV == -math.inf
    # Fill before the subtraction: -inf - -inf is nan, and a later mask would leave nan in the gradient.
    return expectation(log_p_NV, log_p_NV.masked_fill(both_empty_NV, 0.0) - log_q_NV.masked_fill(both_empty_NV, 0.0))


def entropy(log_p_NV: LogProbs) -> Float[Tensor, " N"]:
    """H(p), nats."""
    return -expectation(log_p_NV, log_p_NV.masked_fill(log_p_NV == -math.inf, 0.0))


@spec
class ReverseKL:
    """KL(P_S || P_T), the objective of arXiv 2604.14084. It is mode-seeking.

    f = log p - log q (the + 1 drops out), so the slope is the divergence itself.
    """

    def __call__(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        return kl(student_NV, teacher_NV)

    def from_sums(self, reverse_kl_N: Tensor, forward_kl_N: Tensor) -> tuple[Tensor, Tensor]:
        return reverse_kl_N, reverse_kl_N

    def slope(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        return kl(student_NV, teacher_NV)

    def gradient(
        self, student_NV: LogProbs, teacher_NV: LogProbs, slope_N1: Float[Tensor, "N 1"]
    ) -> Float[Tensor, "N V"]:
        ratio_NV = teacher_NV.neg_().add_(student_NV).sub_(slope_N1)
        return student_NV.exp_().mul_(ratio_NV)


@spec
class ForwardKL:
    """KL(P_T || P_S). It is mass-covering.

    f = -q / p, so the slope is -1 and the gradient is p - q.
    """

    def __call__(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        return kl(teacher_NV, student_NV)

    def from_sums(self, reverse_kl_N: Tensor, forward_kl_N: Tensor) -> tuple[Tensor, Tensor]:
        return forward_kl_N, torch.full_like(forward_kl_N, -1.0)

    def slope(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        return -teacher_NV.exp().sum(-1)

    def gradient(
        self, student_NV: LogProbs, teacher_NV: LogProbs, slope_N1: Float[Tensor, "N 1"]
    ) -> Float[Tensor, "N V"]:
        return student_NV.exp_().mul_(-slope_N1).sub_(teacher_NV.exp_())


@spec
class GeneralisedJSD:
    """beta KL(P_T || M) + (1 - beta) KL(P_S || M) with M = beta P_T + (1 - beta) P_S (GKD, arXiv 2306.13649).

    beta = 0.5 is the Jensen-Shannon divergence. Divided by beta it tends to forward KL as beta -> 0. Divided by
    1 - beta it tends to reverse KL as beta -> 1. At beta = 0 and beta = 1 it is 0 everywhere, so these are not allowed.
    f = (1 - beta) (log p - log m), where m are the probabilities of M.
    """

    beta: Open01
    """Weight of KL(teacher, mixture). 0.5 is the Jensen-Shannon divergence; near 0 it behaves as forward KL, near 1
    as reverse KL."""

    def __call__(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        mixture_NV = self.log_mixture(student_NV, teacher_NV)
        return self.beta * kl(teacher_NV, mixture_NV) + (1 - self.beta) * kl(student_NV, mixture_NV)

    def log_mixture(self, student_NV: LogProbs, teacher_NV: LogProbs) -> LogProbs:
        """log M. Entries that both models mask get 0, because logaddexp(-inf, -inf) has a nan gradient."""
        empty_NV = (teacher_NV == -math.inf) & (student_NV == -math.inf)
        teacher_part_NV = (teacher_NV + math.log(self.beta)).masked_fill(empty_NV, 0.0)
        return torch.logaddexp(teacher_part_NV, (student_NV + math.log1p(-self.beta)).masked_fill(empty_NV, 0.0))

    def from_sums(self, reverse_kl_N: Tensor, forward_kl_N: Tensor) -> None:
        return None

    def slope(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        return (1 - self.beta) * kl(student_NV, self.log_mixture(student_NV, teacher_NV))

    def gradient(
        self, student_NV: LogProbs, teacher_NV: LogProbs, slope_N1: Float[Tensor, "N 1"]
    ) -> Float[Tensor, "N V"]:
        p_NV = student_NV.exp()
        ratio_NV = student_NV.sub_(self.log_mixture(student_NV, teacher_NV))
        return p_NV.mul_(ratio_NV.mul_(1 - self.beta).sub_(slope_N1))


def mark_repeats(ids_NU: Int[Tensor, "N U"]) -> Bool[Tensor, "N U"]:
    """True where the same id stands earlier in the row."""
    sorted_NU, order_NU = ids_NU.sort(dim=-1, stable=True)
    repeat_NU = torch.zeros_like(ids_NU, dtype=torch.bool)
    repeat_NU[:, 1:] = sorted_NU[:, 1:] == sorted_NU[:, :-1]
    return repeat_NU.scatter(-1, order_NU, repeat_NU)


@spec
class TopKDivergence:
    """A divergence over a support U of likely entries.

    With a tail, all other entries together are one more entry, of probability 1 - sum_U p: a divergence of two
    distributions over U and the tail. Without one, both models are renormalised over U. Some trainers do neither and
    only cut the sum off. The result is no KL divergence and can be negative.
    """

    base: ReverseKL | ForwardKL | GeneralisedJSD
    """The divergence that is taken over the support."""
    k: Count
    """Entries of the support: the k likeliest of a model. With union there are up to 2 k."""
    support: Literal["teacher", "student", "union"]
    """Whose likeliest entries: the teacher's, the student's, or both (union)."""
    tail: bool
    """true: all entries outside the support are one more entry. false: both models are renormalised over the
    support."""

    def __call__(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        k = min(self.k, student_NV.shape[-1])
        rankings = {"student": [student_NV], "teacher": [teacher_NV], "union": [student_NV, teacher_NV]}[self.support]
        support_NU = torch.cat([ranking_NV.topk(k).indices for ranking_NV in rankings], -1)
        return self.base(
            *self.restrict_to_support(student_NV.gather(-1, support_NU), teacher_NV.gather(-1, support_NU), support_NU)
        )

    def restrict_to_support(
        self, student_NU: Float[Tensor, "N U"], teacher_NU: Float[Tensor, "N U"], support_NU: Int[Tensor, "N U"]
    ) -> tuple[Float[Tensor, "N B"], Float[Tensor, "N B"]]:
        """Log-probabilities of student and teacher over the support, with the tail as last entry if there is one.

        The arguments are the log-probabilities over V of the entries `support_NU`. An id that occurs twice counts once.
        Among equal logits torch decides which entry is the k-th.
        """
        repeat_NU = mark_repeats(support_NU)
        return self._restrict_one_model(student_NU, repeat_NU), self._restrict_one_model(teacher_NU, repeat_NU)

    def _restrict_one_model(
        self, log_p_NU: Float[Tensor, "N U"], repeat_NU: Bool[Tensor, "N U"]
    ) -> Float[Tensor, "N B"]:
        log_p_NU = log_p_NU.masked_fill(repeat_NU, -math.inf)
        if not self.tail:
            return log_p_NU - log_p_NU.logsumexp(-1, keepdim=True)
        # By rounding the tail may come out as 0 or less.
        rest_N1 = (1 - log_p_NU.exp().sum(-1, keepdim=True)).clamp(min=torch.finfo(log_p_NU.dtype).eps)
        return torch.cat([log_p_NU, rest_N1.log()], -1)

    def from_sums(self, reverse_kl_N: Tensor, forward_kl_N: Tensor) -> None:
        return None

    def slope(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        """The slope for log-probabilities that are restricted to the support."""
        return self.base.slope(student_NV, teacher_NV)

    def gradient(
        self, student_NV: LogProbs, teacher_NV: LogProbs, slope_N1: Float[Tensor, "N 1"]
    ) -> Float[Tensor, "N V"]:
        """The gradient. `tipx.vocab.support` has replaced the log-probabilities of entries outside the support."""
        return self.base.gradient(student_NV, teacher_NV, slope_N1)
