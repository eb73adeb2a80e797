"""The weighted divergence over kept tokens, forward and backward in tiles: nothing of size (K x V) ever lives.

With logits s, p their softmax and f = d(divergence)/dp, the gradient at s is p f - p sum(p f); that sum is the `slope`
of a token. Head products, in units of (K x V x D), for the KLs: 2 forward, and backward 2 to recompute and 2 for the
gradients. The 2 forward ones fall away when scoring has left its sums (`Known`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tipx.divergences import TokenDivergence, TopKDivergence
from tipx.vocab.buffers import Buffers
from tipx.vocab.heads import Head, Hidden
from tipx.vocab.support import FLOOR, Leaders, Support, support_of
from tipx.vocab.sweep import Side, sweep_two


@dataclass(frozen=True)
class Known:
    """What scoring leaves for the loss, of each token, detached: log-sum-exps, the divergence, and its slope.

    `support`: the entries that count, of a divergence that is not over all; log-sum-exps are over what counts.
    """

    student_lse_N: Float[Tensor, " N"]
    teacher_lse_N: Float[Tensor, " N"]
    value_N: Float[Tensor, " N"]
    slope_N: Float[Tensor, " N"]
    support: Support | None = None

    def __getitem__(self, index: Tensor | slice) -> "Known":
        return Known(
            self.student_lse_N[index],
            self.teacher_lse_N[index],
            self.value_N[index],
            self.slope_N[index],
            None if self.support is None else self.support[index],
        )

    @classmethod
    def joined(cls, parts: Sequence["Known"]) -> "Known":
        """Row tiles put together."""
        supports = [part.support for part in parts if part.support is not None]
        return cls(
            torch.cat([part.student_lse_N for part in parts]),
            torch.cat([part.teacher_lse_N for part in parts]),
            torch.cat([part.value_N for part in parts]),
            torch.cat([part.slope_N for part in parts]),
            Support.joined(supports) if supports else None,
        )


def learn(
    student: Hidden, teacher: Hidden, divergence: TokenDivergence, columns: Sequence[slice], buffers: Buffers
) -> tuple[Known, Side, Side]:
    """`Known` of one row tile: one pass over the vocabulary if sums suffice for the divergence, else two."""
    if isinstance(divergence, TopKDivergence):
        both = Leaders(divergence.k, "student"), Leaders(divergence.k, "teacher")
        leaders = [one for one in both if divergence.support in (one.role, "union")]
        ours, theirs = sweep_two(student, teacher, columns, buffers, leaders)
        support, found, lse_NN = support_of(divergence, leaders, (ours.lse_N, theirs.lse_N))
        return Known(*lse_NN, *found, support), ours, theirs
    ours, theirs = sweep_two(student, teacher, columns, buffers)
    from_sums = divergence.from_sums(ours.kl_to(theirs), theirs.kl_to(ours))
    if from_sums is None:
        from_sums = torch.zeros_like(ours.m_N), torch.zeros_like(ours.m_N)
        for part in columns:
            log_p_NC = log_probs(student.tile(part, buffers, "student"), ours.lse_N)
            log_q_NC = log_probs(teacher.tile(part, buffers, "teacher"), theirs.lse_N)
            from_sums[0].add_(divergence(log_p_NC, log_q_NC))
            from_sums[1].add_(divergence.slope(log_p_NC, log_q_NC))
    return Known(ours.lse_N, theirs.lse_N, *from_sums), ours, theirs


def log_probs(logits_NC: Float[Tensor, "N C"], lse_N: Float[Tensor, " N"]) -> Float[Tensor, "N C"]:
    """log P in place; masked entries become a large negative number, so that differences stay numbers."""
    return logits_NC.sub_(lse_N[:, None]).clamp_(min=FLOOR)


@dataclass(frozen=True)
class Job:
    """All but the student's tensors that the loss takes."""

    head: Head
    teacher: Hidden
    weights_K: Float[Tensor, " K"]
    known: Known
    divergence: TokenDivergence
    rows: Sequence[slice]
    columns: Sequence[slice]

    def gradients(
        self, states_KD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Of scale * loss, with respect to hidden states, head weight and bias; summed in fp32."""
        head = replace(self.head, weight_VD=weight_VD, bias_V=bias_V)
        wide, buffers = torch.promote_types(weight_VD.dtype, torch.float32), Buffers()
        grad_states_KD = torch.zeros_like(states_KD, dtype=wide)
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=wide)
        grad_bias_V = None if bias_V is None else torch.zeros_like(bias_V, dtype=wide)
        for rows in self.rows:
            states_ND, weights_N = states_KD[rows], (self.weights_K[rows].to(wide) * scale)[:, None]
            for part in self.columns:
                grad_NC = self.tile(Hidden(states_ND, head), rows, part, buffers).mul_(weights_N)
                if grad_bias_V is not None:
                    grad_bias_V[part].add_(grad_NC.sum(0))
                if weight_VD.dtype != wide:
                    grad_NC = buffers.tile("narrow", grad_NC, weight_VD.dtype).copy_(grad_NC)
                add_product(grad_states_KD[rows], grad_NC, weight_VD[part])
                add_product(grad_weight_VD[part], grad_NC.T, states_ND.to(weight_VD.dtype))
        narrow = None if grad_bias_V is None or bias_V is None else grad_bias_V.to(bias_V.dtype)
        return grad_states_KD.to(states_KD.dtype), grad_weight_VD.to(weight_VD.dtype), narrow

    def tile(self, student: Hidden, rows: slice, part: slice, buffers: Buffers) -> Float[Tensor, "N C"]:
        """Gradient of each row's divergence at the head's product, of one tile."""
        known = self.known[rows]
        log_q_NC = log_probs(self.teacher[rows].tile(part, buffers, "teacher"), known.teacher_lse_N)
        logits_NC = student.tile(part, buffers, "student")
        kept_NC = logits_NC.clone() if self.head.softcap is not None else logits_NC
        log_p_NC = log_probs(logits_NC, known.student_lse_N)
        if known.support is not None:
            known.support.confine(log_p_NC, log_q_NC, part)
        grad_NC = self.divergence.gradient(log_p_NC, log_q_NC, known.slope_N[:, None])
        return self.head.chain(grad_NC, kept_NC)


def add_product(sum_AC: Float[Tensor, "A C"], one_AB: Float[Tensor, "A B"], two_BC: Float[Tensor, "B C"]) -> None:
    """sum += one @ two; narrow factors give a narrow product, summed in the type of the sum."""
    # Autocast, which makes products narrow, leaves in-place operations alone.
    if sum_AC.dtype == one_AB.dtype and not torch.is_autocast_enabled(sum_AC.device.type):
        sum_AC.addmm_(one_AB, two_BC)
    else:
        sum_AC.add_(one_AB @ two_BC)


class TiledLoss(torch.autograd.Function):
    """sum_k weight_k * divergence_k; differentiable in the student's hidden states and head."""

    @staticmethod
    def forward(ctx: Any, states_KD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, job: Job) -> Tensor:
        ctx.save_for_backward(states_KD, weight_VD, *([] if bias_V is None else [bias_V]))
        ctx.job = job
        kind = states_KD.device.type
        # Autocast is off in a backward pass, but the recomputed logits must be those of the forward pass.
        ctx.cast = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        return (job.known.value_N * job.weights_K).sum()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        states_KD, weight_VD, *rest = ctx.saved_tensors
        kind, dtype, enabled = ctx.cast
        with torch.autocast(kind, dtype, enabled=enabled):
            grads = ctx.job.gradients(states_KD, weight_VD, rest[0] if rest else None, scale)
        return *grads, None
