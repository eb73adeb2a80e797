"""The weighted divergence of the kept tokens and its gradient, with the logits of few tokens at a time.

Axes: N tokens scored, K tokens kept, D hidden size, V vocabulary rows that both models share, C columns of one tile.

The loss is L = sum_k w_k D(p_k, q_k), with student p = softmax(s), teacher q, and logits s = W h + b of shape (K, V).
Autograd would keep all logits for the backward pass. Here the gradient is written by hand. With f_v = dD/dp_v,

    dD/ds_v = p_v f_v - p_v slope        where slope = sum_v p_v f_v, one number for each token.

For reverse KL f = log p - log q and the slope is the divergence itself; for forward KL f = -q / p and the slope is -1.
(A constant added to f drops out.) p_v needs only column v of the logits and the token's log-sum-exp. So once the
log-sum-exps and the slope are known (`ForwardSums`), a tile of logits is enough to make the same tile of G = w dD/ds.
That tile is added to dL/dh = G W and dL/dW = G^T h before the next one is made.

Cost in head products (K x V x D) for the KLs: 2 forward (student and teacher) and 2 for the two gradients. Where memory
holds the logits of a row tile over the whole vocabulary (`Tiles.keeps`), the forward pass makes the gradients as well,
and that is all: 4. Else the backward pass makes both logits again: 6. Scoring has made the 2 forward ones already. Its
sums may be used again as long as the student's weights are the same, which means before the optimizer's step. Then the
loss takes 4 in either way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tipx.divergences import TokenDivergence, TopKDivergence
from tipx.vocab.buffers import TileBuffers
from tipx.vocab.fold import GradientInputs, OnlineSums, sum_divergence, write_tile_gradient
from tipx.vocab.heads import Hidden
from tipx.vocab.products import add_product, multiply, widen, widen_factor
from tipx.vocab.support import RunningTopK, Support, build_support
from tipx.vocab.vocab_pass import RowTile, Tiles


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


def compute_forward_sums(tile: RowTile, divergence: TokenDivergence) -> tuple[ForwardSums, OnlineSums, OnlineSums]:
    """The forward sums of one row tile, and the online sums of student and teacher.

    One pass over the vocabulary is enough for the KLs and for top-k divergences. Others need a second pass, since their
    value depends on both log-sum-exps at every entry.
    """
    if isinstance(divergence, TopKDivergence):
        candidates = RunningTopK(divergence.k, "student"), RunningTopK(divergence.k, "teacher")
        tops = [top for top in candidates if divergence.support in (top.role, "union")]
        student_sums, teacher_sums = tile.sum_both_models(tops)
        lse_NN = (student_sums.lse_N, teacher_sums.lse_N)
        support, top_value_and_slope, lse_NN = build_support(divergence, tops, lse_NN)
        return ForwardSums(*lse_NN, *top_value_and_slope, support), student_sums, teacher_sums
    student_sums, teacher_sums = tile.sum_both_models()
    lse_NN = (student_sums.lse_N, teacher_sums.lse_N)
    reverse_kl_N, forward_kl_N = student_sums.kl_to(teacher_sums), teacher_sums.kl_to(student_sums)
    value_and_slope = divergence.from_sums(reverse_kl_N, forward_kl_N)
    if value_and_slope is None:
        value_and_slope = torch.zeros_like(student_sums.m_N), torch.zeros_like(student_sums.m_N)
        for part in tile.tiles.columns:
            student_NC, teacher_NC = tile.make_logits("student", part), tile.make_logits("teacher", part)
            value_N, slope_N = tile.tiles.run(sum_divergence, student_NC, teacher_NC, *lse_NN, divergence)
            value_and_slope[0].add_(value_N)
            value_and_slope[1].add_(slope_N)
    return ForwardSums(*lse_NN, *value_and_slope), student_sums, teacher_sums


@dataclass(frozen=True)
class Gradients:
    """Gradients of the loss, summed in fp32. None for what takes no gradient."""

    states_KD: Float[Tensor, "K D"] | None
    weight_VD: Float[Tensor, "V D"] | None
    bias_V: Float[Tensor, " V"] | None

    @classmethod
    def start(cls, student: Hidden, wanted: Sequence[bool]) -> "Gradients":
        """Gradients for those of (states, weight, bias) that are wanted: 0, or what the first rows overwrite."""
        tensors = (student.states_ND, student.head.weight_VD, student.head.bias_V)
        make = (torch.zeros_like, torch.empty_like, torch.zeros_like)
        return cls(
            *(
                make_like(tensor, dtype=widen(tensor.dtype)) if want and tensor is not None else None
                for tensor, want, make_like in zip(tensors, wanted, make, strict=True)
            )
        )

    def add_rows(self, tile: RowTile, rows: slice, inputs: "LossInputs", sums: ForwardSums) -> None:
        """Add the gradients of the rows of one tile, `sums` being theirs: dL/dh += G W and dL/dW += G^T h."""
        head, states_ND, buffers = tile.student.head, tile.student.states_ND, tile.buffers
        wide = widen(head.weight_VD.dtype)
        weights_N = inputs.weights_K[rows].to(wide)
        for part in tile.tiles.columns:
            student_NC, teacher_NC = tile.make_logits("student", part), tile.make_logits("teacher", part)
            numbers = GradientInputs(
                sums.student_lse_N,
                sums.teacher_lse_N,
                sums.slope_N,
                weights_N,
                None if sums.support is None else sums.support.mark_outside(part),
                None if sums.support is None else sums.support.tail_N,
            )
            weight_CD = widen_factor(head.weight_VD[part], buffers, "weights")
            factor_ND = widen_factor(states_ND, buffers, "states")
            grad_NC = student_NC if weight_CD.dtype == wide else buffers.like("narrow", student_NC, weight_CD.dtype)
            how = (inputs.divergence, head.scale, head.softcap)
            tile.tiles.run(write_tile_gradient, student_NC, teacher_NC, numbers, *how, grad_NC)
            grad_NC = grad_NC[:, : len(weight_CD)]
            if self.bias_V is not None:
                self.bias_V[part].add_(grad_NC.sum(0, dtype=wide))
            if self.states_KD is not None:
                add_product(grad_NC, weight_CD, self.states_KD[rows])
            if self.weight_VD is not None:
                # The first rows are not added to 0: that would read and write the whole matrix once more.
                put_product = multiply if rows.start == 0 else add_product
                put_product(grad_NC.T, factor_ND, self.weight_VD[part])

    def scaled_like(self, tensors: Sequence[Tensor | None], scale: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients times `scale`, each in the type of its tensor. They are overwritten."""
        return tuple(
            None if grad is None or tensor is None else grad.mul_(scale).to(tensor.dtype)
            for grad, tensor in zip((self.states_KD, self.weight_VD, self.bias_V), tensors, strict=True)
        )


@dataclass(frozen=True)
class LossInputs:
    """Everything that the loss takes besides the student's own tensors, which are in `student` without gradient."""

    student: Hidden
    teacher: Hidden
    weights_K: Float[Tensor, " K"]
    divergence: TokenDivergence
    tiles: Tiles

    def row_tiles(self) -> Iterator[tuple[slice, RowTile]]:
        """The tiles of rows, one after another in the same buffers."""
        buffers = TileBuffers()
        for rows in self.tiles.rows:
            yield rows, RowTile(self.student[rows], self.teacher[rows], self.tiles, buffers)

    @torch.no_grad()
    def compute_forward(self, gradients: Gradients | None = None) -> tuple[ForwardSums, OnlineSums, OnlineSums]:
        """The forward sums of all rows, and both models' online sums. Adds to `gradients` on the way, if given."""
        parts = []
        for rows, tile in self.row_tiles():
            parts.append(compute_forward_sums(tile, self.divergence))
            if gradients is not None:
                gradients.add_rows(tile, rows, self, parts[-1][0])
        sums, student, teacher = zip(*parts, strict=True)
        return ForwardSums.concatenate(sums), OnlineSums.concatenate(student), OnlineSums.concatenate(teacher)

    @torch.no_grad()
    def add_gradients(self, gradients: Gradients, sums: ForwardSums) -> None:
        """Add the gradients of all rows, from what the forward pass left."""
        for rows, tile in self.row_tiles():
            gradients.add_rows(tile, rows, self, sums[rows])


class TiledLoss(torch.autograd.Function):
    """sum_k weight_k * divergence_k, differentiable in the student's hidden states, head weight and bias.

    `sums` are of the forward pass. With `gradients`, these are the loss's, made in the forward pass, and the backward
    pass only scales them. Without, the backward pass makes the logits again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states_KD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        inputs: LossInputs,
        sums: ForwardSums,
        gradients: Gradients | None,
    ) -> Tensor:
        ctx.save_for_backward(states_KD, weight_VD, *([] if bias_V is None else [bias_V]))
        ctx.inputs, ctx.sums, ctx.gradients = inputs, sums, gradients
        return (sums.value_N * inputs.weights_K).sum()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        states_KD, weight_VD, *rest = ctx.saved_tensors
        gradients = ctx.gradients
        if gradients is None:
            gradients = Gradients.start(ctx.inputs.student, ctx.needs_input_grad[:3])
            with torch.autocast(scale.device.type, enabled=False):
                ctx.inputs.add_gradients(gradients, ctx.sums)
        ctx.gradients = None  # they are about to be overwritten
        tensors = (states_KD, weight_VD, rest[0] if rest else None)
        return *gradients.scaled_like(tensors, scale), None, None, None
