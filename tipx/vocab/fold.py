"""What is done with one tile of logits, as functions of tensors: the sums of the forward pass, and the gradient.

Axes: N tokens, C columns of one tile, B blocks of columns, W columns of one block.

Each function is a few lines of plain torch. Run as they stand, each line reads and writes a whole tile. `compiled.py`
makes one kernel of each function, which reads every logit once. For that, `fold_*` cut the columns into blocks. All the
sums of a block need its maximum first, and a block is small enough that its logits are still at hand for the sums
(registers of a GPU, the nearest cache of a CPU). The blocks are then joined by their maxima, and that is little work.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tipx.divergences import TokenDivergence

FLOOR = -1e30  # stands for -inf where a difference must stay a number
BLOCK = 256  # columns


class OnlineSums(NamedTuple):
    """Sums of one model over the columns seen so far, one number for each token.

    Let x be this model's logits and m their maximum so far, y the other model's logits and n their maximum. Then

        z     = sum e^(x-m)
        own   = sum e^(x-m) (x-m)        so E[x] = own / z + m
        cross = sum e^(x-m) (y-n)        so E[y] = cross / z + n
    """

    m_N: Float[Tensor, "*N"]
    z_N: Float[Tensor, "*N"]
    own_N: Float[Tensor, "*N"]
    cross_N: Float[Tensor, "*N"]

    @classmethod
    def empty(cls, like_N: Tensor) -> "OnlineSums":
        """The sums before the first tile."""
        return cls(torch.full_like(like_N, FLOOR), *(torch.zeros_like(like_N) for _ in range(3)))

    @classmethod
    def concatenate(cls, parts: Sequence["OnlineSums"]) -> "OnlineSums":
        """The sums of several groups of tokens as one."""
        return cls(*(torch.cat(same) for same in zip(*parts, strict=True)))

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


def split_blocks(logits_NC: Float[Tensor, "N C"]) -> Float[Tensor, "N B W"]:
    """The columns in blocks; in one if they cannot be divided evenly."""
    rows, columns = logits_NC.shape
    width = BLOCK if columns % BLOCK == 0 else columns
    return logits_NC.view(rows, columns // width, width)


def subtract_maximum(logits_NBW: Float[Tensor, "N B W"]) -> tuple[Float[Tensor, "N B"], Float[Tensor, "N B W"]]:
    """The maximum of each block, and the logits relative to it, which are <= 0."""
    # The clamps turn masked entries (-inf) into numbers, of weight exactly 0.
    m_NB = logits_NBW.amax(-1).clamp(min=FLOOR)
    return m_NB, (logits_NBW - m_NB[..., None]).clamp(min=FLOOR)


def fold_one_model(logits_NC: Float[Tensor, "N C"], sums: OnlineSums) -> OnlineSums:
    """The sums with one more tile of columns. `cross` stays 0."""
    m_NB, x_NBW = subtract_maximum(split_blocks(logits_NC))
    e_NBW = x_NBW.exp()
    z_NB = e_NBW.sum(-1)
    blocks = OnlineSums(m_NB, z_NB, (e_NBW * x_NBW).sum(-1), torch.zeros_like(z_NB))
    return add_tile(sums, sums, join_blocks(blocks, blocks), m_NB.amax(-1))


def fold_both_models(
    student_NC: Float[Tensor, "N C"],
    teacher_NC: Float[Tensor, "N C"],
    student_sums: OnlineSums,
    teacher_sums: OnlineSums,
) -> tuple[OnlineSums, OnlineSums]:
    """The sums of student and teacher with one more tile of columns."""
    m_NB, x_NBW = subtract_maximum(split_blocks(student_NC))
    n_NB, y_NBW = subtract_maximum(split_blocks(teacher_NC))
    p_NBW, q_NBW = x_NBW.exp(), y_NBW.exp()
    student = OnlineSums(m_NB, p_NBW.sum(-1), (p_NBW * x_NBW).sum(-1), (p_NBW * y_NBW).sum(-1))
    teacher = OnlineSums(n_NB, q_NBW.sum(-1), (q_NBW * y_NBW).sum(-1), (q_NBW * x_NBW).sum(-1))
    student_tile, teacher_tile = join_blocks(student, teacher), join_blocks(teacher, student)
    return (
        add_tile(student_sums, teacher_sums, student_tile, teacher_tile.m_N),
        add_tile(teacher_sums, student_sums, teacher_tile, student_tile.m_N),
    )


def join_blocks(blocks: OnlineSums, other: OnlineSums) -> OnlineSums:
    """The sums over all blocks, relative to the highest maximum. `other` are the other model's blocks."""
    m_N, other_m_N = blocks.m_N.amax(-1, keepdim=True), other.m_N.amax(-1, keepdim=True)
    moved = move_maximum(blocks, m_N, other.m_N - other_m_N)
    return OnlineSums(m_N[..., 0], moved.z_N.sum(-1), moved.own_N.sum(-1), moved.cross_N.sum(-1))


def add_tile(sums: OnlineSums, other: OnlineSums, tile: OnlineSums, other_tile_m_N: Tensor) -> OnlineSums:
    """The sums with those of one more tile. `other` are the other model's sums, `other_tile_m_N` its tile's maximum."""
    m_N, other_m_N = torch.maximum(sums.m_N, tile.m_N), torch.maximum(other.m_N, other_tile_m_N)
    old, new = move_maximum(sums, m_N, other.m_N - other_m_N), move_maximum(tile, m_N, other_tile_m_N - other_m_N)
    return OnlineSums(m_N, old.z_N + new.z_N, old.own_N + new.own_N, old.cross_N + new.cross_N)


def move_maximum(sums: OnlineSums, m_N: Tensor, other_shift_N: Tensor) -> OnlineSums:
    """The same sums relative to a higher maximum m'. `other_shift_N` is n - n' of the other model.

    x - m' = (x - m) + (m - m'). So z is multiplied by e^(m-m') <= 1, and the first moment also gets the shift times z.
    `cross` gets the shift of the other model's maximum.
    """
    shift_N = sums.m_N - m_N
    scale_N = shift_N.exp()
    own_N, cross_N = sums.own_N + shift_N * sums.z_N, sums.cross_N + other_shift_N * sums.z_N
    return OnlineSums(m_N, scale_N * sums.z_N, scale_N * own_N, scale_N * cross_N)


def compute_log_probs(logits_NC: Float[Tensor, "N C"], lse_N: Float[Tensor, " N"]) -> Float[Tensor, "N C"]:
    """log P. Masked entries become a large negative number, so that differences of two stay numbers."""
    return (logits_NC - lse_N[:, None]).clamp_(min=FLOOR)


def sum_divergence(
    student_NC: Float[Tensor, "N C"],
    teacher_NC: Float[Tensor, "N C"],
    student_lse_N: Float[Tensor, " N"],
    teacher_lse_N: Float[Tensor, " N"],
    divergence: TokenDivergence,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """This tile's part of the divergence and of its slope, from logits."""
    log_p_NC, log_q_NC = compute_log_probs(student_NC, student_lse_N), compute_log_probs(teacher_NC, teacher_lse_N)
    return divergence(log_p_NC, log_q_NC), divergence.slope(log_p_NC, log_q_NC)


class GradientInputs(NamedTuple):
    """One number for each token: both log-sum-exps, the slope and the weight. With a support, what is outside of it."""

    student_lse_N: Float[Tensor, " N"]
    teacher_lse_N: Float[Tensor, " N"]
    slope_N: Float[Tensor, " N"]
    weights_N: Float[Tensor, " N"]
    outside_NC: Bool[Tensor, "N C"] | None
    tail_N: Float[Tensor, " N"] | None


def compute_tile_gradient(
    student_NC: Float[Tensor, "N C"],
    teacher_NC: Float[Tensor, "N C"],
    inputs: GradientInputs,
    divergence: TokenDivergence,
    scale: float,
    softcap: float | None,
) -> Float[Tensor, "N C"]:
    """One tile of each row's weight * dD/dx, from logits. x = W h + b is the product before scale and softcap."""
    log_p_NC = compute_log_probs(student_NC, inputs.student_lse_N)
    log_q_NC = compute_log_probs(teacher_NC, inputs.teacher_lse_N)
    if inputs.outside_NC is not None:
        # See `support.Support`: without a tail an entry outside has p = 0, else it has the log-ratio of the whole tail.
        if inputs.tail_N is None:
            log_p_NC = log_p_NC.masked_fill(inputs.outside_NC, FLOOR)
            log_q_NC = log_q_NC.masked_fill(inputs.outside_NC, FLOOR)
        else:
            log_q_NC = torch.where(inputs.outside_NC, log_p_NC - inputs.tail_N[:, None], log_q_NC)
    grad_NC = divergence.gradient(log_p_NC, log_q_NC, inputs.slope_N[:, None]).mul_(inputs.weights_N[:, None])
    if softcap is not None:
        # d/dx cap tanh(x / cap) = 1 - tanh^2 = 1 - (logit / cap)^2. Beyond the vocabulary this is nan, and nobody's.
        grad_NC.mul_(1 - (student_NC / softcap) ** 2)
    return grad_NC.mul_(scale) if scale != 1.0 else grad_NC


def write_tile_gradient(
    student_NC: Float[Tensor, "N C"],
    teacher_NC: Float[Tensor, "N C"],
    inputs: GradientInputs,
    divergence: TokenDivergence,
    scale: float,
    softcap: float | None,
    out_NC: Float[Tensor, "N C"],
) -> None:
    """The gradient in memory that is there already, such as the student's tile, and in the type of that memory."""
    out_NC.copy_(compute_tile_gradient(student_NC, teacher_NC, inputs, divergence, scale, softcap))
