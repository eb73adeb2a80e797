"""Putting entropy and divergence on one scale, over every valid token of the step (all sequences, all ranks)."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tipx.spec import Fraction01, spec


def min_max(values_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"], clip: float) -> Float[Tensor, "B T"]:
    """Clip at the quantile `clip` from above, then map [min, max] to [0, 1]; all equal gives 0; 0 off valid."""
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
    """Linear-interpolation quantile, as numpy's default; any N (torch.quantile refuses more than 16 million)."""
    ordered = values_N.sort().values
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@spec
class Normalise:
    """`entropy_clip` and `divergence_clip` are upper quantiles; 1 is no clipping.

    arXiv 2604.14084 v4 clips entropy at 0.98 and divergence not at all; its v1 clips neither. `scope` is what quantile,
    minimum and maximum are taken over: the paper's whole step, or each rollout by itself.
    """

    entropy_clip: Fraction01
    divergence_clip: Fraction01
    scope: Literal["step", "rollout"]

    def entropy(self, values_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """h^ in [0, 1]."""
        return self._scaled(values_BT, valid_BT, self.entropy_clip)

    def divergence(self, values_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """d^ in [0, 1]."""
        return self._scaled(values_BT, valid_BT, self.divergence_clip)

    def _scaled(
        self, values_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"], clip: float
    ) -> Float[Tensor, "B T"]:
        if self.scope == "step" or not len(values_BT):
            return min_max(values_BT, valid_BT, clip)
        rows = zip(values_BT.split(1), valid_BT.split(1), strict=True)
        return torch.cat([min_max(values_1T, valid_1T, clip) for values_1T, valid_1T in rows])
