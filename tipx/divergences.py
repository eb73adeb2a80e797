"""Per-token divergences between next-token distributions, in nats.

Arguments are log-probabilities of student (P_S) and teacher (P_T), shape (N, V); the result has shape (N,). Entries of
probability 0 (log-probability -inf, as in masked vocabularies) contribute 0 and give a finite gradient.
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
    """A divergence that can be trained on in tiles of the vocabulary.

    With f = d(divergence)/dp of the student's probabilities p, its gradient at the logits is p f - p sum(p f).
    f may be off by a constant, which drops out.
    """

    def __call__(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        """The divergence of each row; of some columns, their part of it."""
        ...

    def from_sums(
        self, reverse_kl_N: Float[Tensor, " N"], forward_kl_N: Float[Tensor, " N"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]] | None:
        """(divergence, sum(p f)) where the KLs tell them; None where a pass of its own is needed."""
        ...

    def slope(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        """sum(p f) of each row; of some columns, their part of it."""
        ...

    def gradient(
        self, student_NV: LogProbs, teacher_NV: LogProbs, slope_N1: Float[Tensor, "N 1"]
    ) -> Float[Tensor, "N V"]:
        """p f - p slope. May overwrite its arguments."""
        ...


def expectation(log_weight_NV: LogProbs, value_NV: Float[Tensor, "N V"]) -> Float[Tensor, " N"]:
    """Sum over V of exp(log_weight) * value, where entries of weight 0 count as 0 whatever their value."""
    empty_NV = log_weight_NV == -math.inf
    return (log_weight_NV.exp() * value_NV.masked_fill(empty_NV, 0.0)).sum(-1)


def kl(log_p_NV: LogProbs, log_q_NV: LogProbs) -> Float[Tensor, " N"]:
    """KL(p || q), nats."""
    both_empty_NV = log_p_NV == -math.inf
    # Fill before subtracting: -inf - -inf is nan, and would stay nan in the gradient.
    return expectation(log_p_NV, log_p_NV.masked_fill(both_empty_NV, 0.0) - log_q_NV.masked_fill(both_empty_NV, 0.0))


def entropy(log_p_NV: LogProbs) -> Float[Tensor, " N"]:
    """H(p), nats."""
    return -expectation(log_p_NV, log_p_NV.masked_fill(log_p_NV == -math.inf, 0.0))


@spec
class ReverseKL:
    """KL(P_S || P_T): mode-seeking; the objective of arXiv 2604.14084."""

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
    """KL(P_T || P_S): mass-covering."""

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

    beta = 0.5 is the Jensen-Shannon divergence. Scaled by 1/beta it tends to forward KL as beta -> 0, and by
    1/(1 - beta) to reverse KL as beta -> 1; the ends themselves are 0, hence the open interval.
    """

    beta: Open01

    def __call__(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        mixture_NV = self.mixture(student_NV, teacher_NV)
        return self.beta * kl(teacher_NV, mixture_NV) + (1 - self.beta) * kl(student_NV, mixture_NV)

    def mixture(self, student_NV: LogProbs, teacher_NV: LogProbs) -> LogProbs:
        """log M; 0 for entries that both rule out, since logaddexp(-inf, -inf) has a nan gradient."""
        empty_NV = (teacher_NV == -math.inf) & (student_NV == -math.inf)
        teacher_part_NV = (teacher_NV + math.log(self.beta)).masked_fill(empty_NV, 0.0)
        return torch.logaddexp(teacher_part_NV, (student_NV + math.log1p(-self.beta)).masked_fill(empty_NV, 0.0))

    def from_sums(self, reverse_kl_N: Tensor, forward_kl_N: Tensor) -> None:
        return None

    def slope(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        return (1 - self.beta) * kl(student_NV, self.mixture(student_NV, teacher_NV))

    def gradient(
        self, student_NV: LogProbs, teacher_NV: LogProbs, slope_N1: Float[Tensor, "N 1"]
    ) -> Float[Tensor, "N V"]:
        p_NV = student_NV.exp()
        ratio_NV = student_NV.sub_(self.mixture(student_NV, teacher_NV))
        return p_NV.mul_(ratio_NV.mul_(1 - self.beta).sub_(slope_N1))


def mark_repeats(ids_NU: Int[Tensor, "N U"]) -> Bool[Tensor, "N U"]:
    """Which entries stand in their row a second time."""
    sorted_NU, order_NU = ids_NU.sort(dim=-1, stable=True)
    again_NU = torch.zeros_like(ids_NU, dtype=torch.bool)
    again_NU[:, 1:] = sorted_NU[:, 1:] == sorted_NU[:, :-1]
    return again_NU.scatter(-1, order_NU, again_NU)


@spec
class TopKDivergence:
    """`base` over the k likeliest entries of one model, or of each (`union`).

    `tail`: all other entries together are one more, so that it is a divergence of two distributions over V; else both
    models are renormalised over the k. (Cut off without either, as some trainers do, a "KL" can be negative.)
    """

    base: ReverseKL | ForwardKL | GeneralisedJSD
    k: Count
    support: Literal["teacher", "student", "union"]
    tail: bool

    def __call__(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        k = min(self.k, student_NV.shape[-1])
        leaders = {"student": [student_NV], "teacher": [teacher_NV], "union": [student_NV, teacher_NV]}[self.support]
        support_NU = torch.cat([one_NV.topk(k).indices for one_NV in leaders], -1)
        return self.base(
            *self.restrict_to_support(student_NV.gather(-1, support_NU), teacher_NV.gather(-1, support_NU), support_NU)
        )

    def restrict_to_support(
        self, student_NU: Float[Tensor, "N U"], teacher_NU: Float[Tensor, "N U"], support_NU: Int[Tensor, "N U"]
    ) -> tuple[Float[Tensor, "N B"], Float[Tensor, "N B"]]:
        """Log-probabilities over the support, and of the tail if there is one, from those over V of its entries.

        An entry that is named twice counts once. Which of equal entries is the k-th is left to torch.
        """
        twice_NU = mark_repeats(support_NU)
        return self._with_tail(student_NU, twice_NU), self._with_tail(teacher_NU, twice_NU)

    def _with_tail(self, log_p_NU: Float[Tensor, "N U"], twice_NU: Bool[Tensor, "N U"]) -> Float[Tensor, "N B"]:
        log_p_NU = log_p_NU.masked_fill(twice_NU, -math.inf)
        if not self.tail:
            return log_p_NU - log_p_NU.logsumexp(-1, keepdim=True)
        # Rounding may leave nothing, or less, for the tail.
        rest_N1 = (1 - log_p_NU.exp().sum(-1, keepdim=True)).clamp(min=torch.finfo(log_p_NU.dtype).eps)
        return torch.cat([log_p_NU, rest_N1.log()], -1)

    def from_sums(self, reverse_kl_N: Tensor, forward_kl_N: Tensor) -> None:
        return None

    def slope(self, student_NV: LogProbs, teacher_NV: LogProbs) -> Float[Tensor, " N"]:
        """Of reduced log-probabilities."""
        return self.base.slope(student_NV, teacher_NV)

    def gradient(
        self, student_NV: LogProbs, teacher_NV: LogProbs, slope_N1: Float[Tensor, "N 1"]
    ) -> Float[Tensor, "N V"]:
        """Of log-probabilities that `tipx.vocab.support` has put in place of an entry's own."""
        return self.base.gradient(student_NV, teacher_NV, slope_N1)
