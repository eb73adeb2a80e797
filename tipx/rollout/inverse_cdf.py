"""One uniform draw to one token: the inverse of the CDF, in two levels.

Axes: R rows, V vocabulary, M blocks of it, B entries of a block.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 256
"""Entries of a block. A vocabulary that is no larger is one, in float64 throughout."""


def pick_tokens(scores_RV: Float[Tensor, "R V"], draws_R: Float[Tensor, " R"]) -> Int[Tensor, " R"]:
    """The token in whose share of the row's CDF the draw falls: the first v with CDF(v) > draw x CDF(V).

    The draws are float64 in [0, 1). A token of probability zero is never picked. A CDF of all entries in float64 takes
    several times as long as their probabilities do. So these are summed by blocks, and the CDF of the blocks' sums, in
    float64, says in which block the draw falls. Only that block has a CDF of its own, in float64 too. The
    probabilities are fp32: a draw that is within their rounding of an edge, some 1e-7, may fall on its other side.
    """
    draws_R1 = draws_R[:, None].to(scores_RV.device)
    size = scores_RV.shape[-1]
    if size <= BLOCK:
        cdf_RV = scores_RV.double().softmax(-1).cumsum(-1)
        return search(cdf_RV, draws_R1 * cdf_RV[:, -1:])[:, 0]
    p_RV = scores_RV.float().softmax(-1)
    whole = size // BLOCK * BLOCK
    mass_RM = p_RV[:, :whole].unflatten(-1, (-1, BLOCK)).sum(-1, dtype=torch.double)
    rest_R1 = p_RV[:, whole:].sum(-1, keepdim=True, dtype=torch.double)
    cdf_RM = torch.cat([mass_RM, rest_R1], -1).cumsum(-1)
    target_R1 = draws_R1 * cdf_RM[:, -1:]
    block_R1 = search(cdf_RM, target_R1)
    before_R1 = torch.nn.functional.pad(cdf_RM, (1, 0)).gather(-1, block_R1)
    token_RB = block_R1 * BLOCK + torch.arange(BLOCK, device=block_R1.device)
    p_RB = p_RV.gather(-1, token_RB.clamp(max=size - 1)).double() * (token_RB < size)
    inside_R1 = search(p_RB.cumsum(-1), target_R1 - before_R1)
    return (block_R1 * BLOCK + inside_R1)[:, 0].clamp(max=size - 1)


def search(cdf_RM: Float[Tensor, "R M"], target_R1: Float[Tensor, "R 1"]) -> Int[Tensor, "R 1"]:
    """The first entry whose CDF is above the target; where rounding left none, the last that adds to it."""
    first_R1 = torch.searchsorted(cdf_RM, target_R1, right=True)  # right: never lands on a zero share
    last_R1 = torch.searchsorted(cdf_RM, cdf_RM[:, -1:].contiguous())
    return torch.minimum(first_R1, last_R1).clamp(max=cdf_RM.shape[-1] - 1)
