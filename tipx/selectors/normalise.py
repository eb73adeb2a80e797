"""Normalisation: entropy and divergence become numbers in [0, 1], so that they can be combined.

A value x becomes (min(x, c) - min) / (max - min), where c is an upper quantile. Quantile, minimum and maximum are taken
over every valid token of the step: all sequences of all processes. Taken over a micro-batch they would change with its
size, and so would the kept tokens. Padding, prompt and tool tokens must not be among the values: one extreme value of
theirs would press all others together.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tipx.spec import Fraction01, spec


def min_max(values_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"], clip: float) -> Float[Tensor, "B T"]:
    """Clip from above at the quantile `clip`, then map [min, max] to [0, 1].

    If all values are equal the result is 0. Tokens that are not valid get 0.
    """
    values_N = values_BT[valid_BT]
    if values_N.numel() == 0:
        return torch.zeros_like(values_BT)
    if clip < 1:
        values_BT = values_BT.clamp(max=quantile(values_N, clip))
        values_N = values_BT[valid_BT]
    low, high = values_N.min(), values_N.max()
    if high <= low:
        return torch.zeros_like(values_BT)
    return ((values_BT - low) / (high - low)) * valid_BT


def quantile(values_N: Float[Tensor, " N"], q: float) -> Float[Tensor, ""]:
    """The q-quantile by linear interpolation, as in numpy. torch.quantile refuses more than 16 million."""
    ordered = values_N.sort().values
    position = q * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


@spec
class Normalise:
    """Maps entropy and divergence to [0, 1]: h^ and d^ of the paper.

    The paper (arXiv 2604.14084) clips entropy at 0.98 and divergence not at all in v4, and clips neither in v1.
    """

    entropy_clip: Fraction01
    """Upper quantile at which entropy is cut off before it is mapped to [0, 1]. 1 is no clipping."""
    divergence_clip: Fraction01
    """Upper quantile at which divergence is cut off before it is mapped to [0, 1]. 1 is no clipping."""
    scope: Literal["step", "rollout"]
    """Tokens over which quantile, minimum and maximum are taken: the whole step, as in the paper, or each rollout by
    itself."""

    def entropy(self, values_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """h^, the normalised entropy, in [0, 1]."""
        return self._scale_in_scope(values_BT, valid_BT, self.entropy_clip)

    def divergence(self, values_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """d^, the normalised divergence, in [0, 1]."""
        return self._scale_in_scope(values_BT, valid_BT, self.divergence_clip)

    def _scale_in_scope(
        self, values_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"], clip: float
    ) -> Float[Tensor, "B T"]:
        if self.scope == "step" or not len(values_BT):
            return min_max(values_BT, valid_BT, clip)
        rows = zip(values_BT.split(1), valid_BT.split(1), strict=True)
        return torch.cat([min_max(values_1T, valid_1T, clip) for values_1T, valid_1T in rows])
