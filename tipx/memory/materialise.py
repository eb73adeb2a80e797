"""The usual way to distil: all logits first, then select. Here to compare with; tipx trains with `tipx.vocab`.

Axes: N tokens scored, K tokens kept, V vocabulary rows, R rows of a chunk.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tipx.vocab import Hidden

CHUNK = 64


def full_logits(hidden: Hidden) -> Float[Tensor, "N V"]:
    """All logits, fp32 as accelerate hands a model's outputs out."""
    return hidden.logits()


@torch.no_grad()
def entropies(student_NV: Float[Tensor, "N V"]) -> Float[Tensor, " N"]:
    """The student's entropy of each token, in chunks of rows."""
    parts = []
    for rows_RV in student_NV.split(CHUNK):
        log_p_RV = rows_RV.log_softmax(-1)
        parts.append(-(log_p_RV.exp() * log_p_RV).sum(-1))
    return torch.cat(parts)


@torch.no_grad()
def divergences(student_NV: Float[Tensor, "N V"], teacher_NV: Float[Tensor, "N V"]) -> Float[Tensor, " N"]:
    """Reverse KL of each token, in chunks of rows."""
    pairs = zip(student_NV.split(CHUNK), teacher_NV.split(CHUNK), strict=True)
    return torch.cat([chunk_loss(s_RV, t_RV) for s_RV, t_RV in pairs])


def rows_of(logits_NV: Float[Tensor, "N V"], index_K: Int[Tensor, " K"]) -> Float[Tensor, "K V"]:
    """The kept rows; all logits can be let go then, since a linear layer's backward pass does not need them."""
    return logits_NV if len(index_K) == len(logits_NV) else logits_NV[index_K]


def chunk_loss(student_RV: Float[Tensor, "R V"], teacher_RV: Float[Tensor, "R V"]) -> Float[Tensor, " R"]:
    """Reverse KL of each row, nats. Autograd keeps three tensors of this size for the backward pass."""
    log_p_RV, log_q_RV = student_RV.log_softmax(-1), teacher_RV.log_softmax(-1)
    return (log_p_RV.exp() * (log_p_RV - log_q_RV)).sum(-1)


def chunked_loss(student_KV: Float[Tensor, "K V"], teacher_KV: Float[Tensor, "K V"]) -> Float[Tensor, ""]:
    """Mean reverse KL. Chunks save little: each keeps its log-softmaxes until the backward pass comes to it."""
    pairs = zip(student_KV.split(CHUNK), teacher_KV.split(CHUNK), strict=True)
    return torch.cat([chunk_loss(s_RV, t_RV) for s_RV, t_RV in pairs]).mean()
