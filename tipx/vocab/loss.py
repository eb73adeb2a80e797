"""The weighted divergence of the kept tokens and its gradient, computed in tiles. No tensor of size (K x V) is made.

Axes: N tokens scored, K tokens kept, D hidden size, V vocabulary rows that both models share, C columns of one tile.

The loss is L = sum_k w_k D(p_k, q_k), with student p = softmax(s), teacher q, and logits s = W h + b of shape (K, V).
Autograd would keep all logits for the backward pass. Here the gradient is written by hand. With f_v = dD/dp_v,

    dD/ds_v = p_v f_v - p_v slope        where slope = sum_v p_v f_v, one number for each token.

For reverse KL f = log p - log q and the slope is the divergence itself; for forward KL f = -q / p and the slope is -1.
(A constant added to f drops out.) p_v needs only column v of the logits and the token's log-sum-exp. So once the
log-sum-exps and the slope are known (`ForwardSums`), a tile of logits is enough to make the same tile of G = w dD/ds.
That tile is added to dL/dh = G W and dL/dW = G^T h before the next one is made.

Cost in head products (K x V x D) for the KLs: 2 forward (student and teacher), then backward 2 to recompute both logits
and 2 for the two gradients. Scoring has already made the 2 forward ones. Its sums may be used again as long as the
student's weights are the same, which means before the optimizer's step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tipx.divergences import TokenDivergence, TopKDivergence
from tipx.vocab.buffers import TileBuffers
from tipx.vocab.heads import Head, Hidden
from tipx.vocab.support import FLOOR, RunningTopK, Support, build_support
from tipx.vocab.vocab_pass import OnlineSums, sum_both_models


@dataclass(frozen=True)
class ForwardSums:
    """The result of the forward pass for each token, without gradient: all that the backward pass needs to know.

    `value_N` is the divergence in nats, `slope_N` is sum_v p_v f_v. `support` names the entries that a `TopKDivergence`
    looks at; the log-sum-exps are then over these entries, unless it has a tail.
    """

    student_lse_N: Float[Tensor, " N"]
    teacher_lse_N: Float[Tensor, " N"]
    value_N: Float[Tensor, " N"]
    slope_N: Float[Tensor, " N"]
    support: Support | None = None

    def __getitem__(self, index: Tensor | slice) -> "ForwardSums":
        return ForwardSums(
            self.student_lse_N[index],
            self.teacher_lse_N[index],
            self.value_N[index],
            self.slope_N[index],
            None if self.support is None else self.support[index],
        )

    @classmethod
    def concatenate(cls, parts: Sequence["ForwardSums"]) -> "ForwardSums":
        """The sums of several row tiles as one."""
        supports = [part.support for part in parts if part.support is not None]
        return cls(
            torch.cat([part.student_lse_N for part in parts]),
            torch.cat([part.teacher_lse_N for part in parts]),
            torch.cat([part.value_N for part in parts]),
            torch.cat([part.slope_N for part in parts]),
            Support.concatenate(supports) if supports else None,
        )


def compute_forward_sums(
    student: Hidden, teacher: Hidden, divergence: TokenDivergence, columns: Sequence[slice], buffers: TileBuffers
) -> tuple[ForwardSums, OnlineSums, OnlineSums]:
    """The forward sums of one row tile, and the online sums of student and teacher.

    One pass over the vocabulary is enough for the KLs and for top-k divergences. Others need a second pass, since their
    value depends on both log-sum-exps at every entry.
    """
    if isinstance(divergence, TopKDivergence):
        candidates = RunningTopK(divergence.k, "student"), RunningTopK(divergence.k, "teacher")
        tops = [top for top in candidates if divergence.support in (top.role, "union")]
        student_sums, teacher_sums = sum_both_models(student, teacher, columns, buffers, tops)
        lse_NN = (student_sums.lse_N, teacher_sums.lse_N)
        support, top_value_and_slope, lse_NN = build_support(divergence, tops, lse_NN)
        return ForwardSums(*lse_NN, *top_value_and_slope, support), student_sums, teacher_sums
    student_sums, teacher_sums = sum_both_models(student, teacher, columns, buffers)
    reverse_kl_N, forward_kl_N = student_sums.kl_to(teacher_sums), teacher_sums.kl_to(student_sums)
    value_and_slope = divergence.from_sums(reverse_kl_N, forward_kl_N)
    if value_and_slope is None:
        value_and_slope = torch.zeros_like(student_sums.m_N), torch.zeros_like(student_sums.m_N)
        for part in columns:
            log_p_NC = normalise_logits_(student.logits_tile(part, buffers, "student"), student_sums.lse_N)
            log_q_NC = normalise_logits_(teacher.logits_tile(part, buffers, "teacher"), teacher_sums.lse_N)
            value_and_slope[0].add_(divergence(log_p_NC, log_q_NC))
            value_and_slope[1].add_(divergence.slope(log_p_NC, log_q_NC))
    return ForwardSums(student_sums.lse_N, teacher_sums.lse_N, *value_and_slope), student_sums, teacher_sums


def normalise_logits_(logits_NC: Float[Tensor, "N C"], lse_N: Float[Tensor, " N"]) -> Float[Tensor, "N C"]:
    """log P in place. Masked entries become a large negative number, so that differences of two stay numbers."""
    return logits_NC.sub_(lse_N[:, None]).clamp_(min=FLOOR)


@dataclass(frozen=True)
class LossInputs:
    """Everything that the loss takes besides the student's own tensors. `rows` and `columns` are the tiles."""

    head: Head
    teacher: Hidden
    weights_K: Float[Tensor, " K"]
    forward_sums: ForwardSums
    divergence: TokenDivergence
    rows: Sequence[slice]
    columns: Sequence[slice]

    def compute_gradients(
        self, states_KD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Gradients of scale * loss with respect to hidden states, head weight and bias. They are summed in fp32."""
        head = replace(self.head, weight_VD=weight_VD, bias_V=bias_V)
        wide, buffers = torch.promote_types(weight_VD.dtype, torch.float32), TileBuffers()
        grad_states_KD = torch.zeros_like(states_KD, dtype=wide)
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=wide)
        grad_bias_V = None if bias_V is None else torch.zeros_like(bias_V, dtype=wide)
        for rows in self.rows:
            states_ND, weights_N = states_KD[rows], (self.weights_K[rows].to(wide) * scale)[:, None]
            for part in self.columns:
                grad_NC = self.compute_tile_gradient(Hidden(states_ND, head), rows, part, buffers).mul_(weights_N)
                if grad_bias_V is not None:
                    grad_bias_V[part].add_(grad_NC.sum(0))
                if weight_VD.dtype != wide:
                    grad_NC = buffers.like("narrow", grad_NC, weight_VD.dtype).copy_(grad_NC)
                # dL/dh += G W and dL/dW += G^T h, with this tile's columns of G and rows of W.
                add_product(grad_states_KD[rows], grad_NC, weight_VD[part])
                add_product(grad_weight_VD[part], grad_NC.T, states_ND.to(weight_VD.dtype))
        narrow = None if grad_bias_V is None or bias_V is None else grad_bias_V.to(bias_V.dtype)
        return grad_states_KD.to(states_KD.dtype), grad_weight_VD.to(weight_VD.dtype), narrow

    def compute_tile_gradient(
        self, student: Hidden, rows: slice, part: slice, buffers: TileBuffers
    ) -> Float[Tensor, "N C"]:
        """One tile of each row's dD/dz, where z = W h + b is the head's product before scale and softcap."""
        sums = self.forward_sums[rows]
        log_q_NC = normalise_logits_(self.teacher[rows].logits_tile(part, buffers, "teacher"), sums.teacher_lse_N)
        logits_NC = student.logits_tile(part, buffers, "student")
        # The softcap's derivative needs the logits, which the next line overwrites.
        original_NC = logits_NC.clone() if self.head.softcap is not None else logits_NC
        log_p_NC = normalise_logits_(logits_NC, sums.student_lse_N)
        if sums.support is not None:
            sums.support.mask_outside(log_p_NC, log_q_NC, part)
        grad_NC = self.divergence.gradient(log_p_NC, log_q_NC, sums.slope_N[:, None])
        return self.head.backward_scaling(grad_NC, original_NC)


def add_product(sum_AC: Float[Tensor, "A C"], left_AB: Float[Tensor, "A B"], right_BC: Float[Tensor, "B C"]) -> None:
    """sum += left @ right. Narrow factors give a narrow product, which is added in the type of the sum."""
    # Autocast makes products narrow, but leaves in-place operations alone.
    if sum_AC.dtype == left_AB.dtype and not torch.is_autocast_enabled(sum_AC.device.type):
        sum_AC.addmm_(left_AB, right_BC)
    else:
        sum_AC.add_(left_AB @ right_BC)


class TiledLoss(torch.autograd.Function):
    """sum_k weight_k * divergence_k, differentiable in the student's hidden states, head weight and bias.

    The forward pass only adds up the divergences that `ForwardSums` holds. The backward pass recomputes the logits.
    """

    @staticmethod
    def forward(ctx: Any, states_KD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, inputs: LossInputs) -> Tensor:
        ctx.save_for_backward(states_KD, weight_VD, *([] if bias_V is None else [bias_V]))
        ctx.inputs = inputs
        kind = states_KD.device.type
        # Autocast is off in a backward pass, but the recomputed logits must be those of the forward pass.
        ctx.cast = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        return (inputs.forward_sums.value_N * inputs.weights_K).sum()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        states_KD, weight_VD, *rest = ctx.saved_tensors
        kind, dtype, enabled = ctx.cast
        with torch.autocast(kind, dtype, enabled=enabled):
            grads = ctx.inputs.compute_gradients(states_KD, weight_VD, rest[0] if rest else None, scale)
        return *grads, None
