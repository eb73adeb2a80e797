"""The four quadrants of entropy and divergence (arXiv 2604.14084).

                    high divergence            low divergence
    high entropy    Q1: unsure and wrong       Q2: unsure but agreeing
    low entropy     Q3: sure and wrong         Q4: solved

Entropy is the student's H(P_S), divergence is reverse KL(P_S || P_T). The paper uses quadrants to explain and gives no
thresholds. Here each threshold is a setting: a quantile of its axis over all valid tokens of the step. "High" means
strictly above the threshold, so a value equal to it is low.
"""

from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from tipx.noise import Noise
from tipx.selectors.normalise import quantile
from tipx.spec import Count, Fraction01, spec
from tipx.types import TokenStats


@spec
class Quadrants:
    """Gives each token its quadrant, 1 to 4."""

    entropy_quantile: Fraction01
    """Quantile of the step's entropies above which a token counts as unsure. 0.5 is the median."""
    divergence_quantile: Fraction01
    """Quantile of the step's reverse KL above which a token counts as wrong. 0.5 is the median."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"student_entropy", "reverse_kl"})

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """1 to 4 for valid tokens, 0 elsewhere."""
        if not valid_BT.any():
            return torch.zeros(valid_BT.shape, dtype=torch.long, device=valid_BT.device)
        h_BT, d_BT = stats["student_entropy"], stats["reverse_kl"]
        unsure_BT = h_BT > quantile(h_BT[valid_BT], self.entropy_quantile)
        wrong_BT = d_BT > quantile(d_BT[valid_BT], self.divergence_quantile)
        return (1 + (~wrong_BT).long() + 2 * (~unsure_BT).long()) * valid_BT


@spec
class InQuadrant:
    """Score 1 for the tokens of one quadrant, 0 for the others."""

    quadrant: Annotated[Count, Field(le=4)]
    """1 unsure and wrong, 2 unsure and agreeing, 3 sure and wrong, 4 solved."""
    quadrants: Quadrants
    """The thresholds. The presets take them from the top-level `quadrants`."""

    @property
    def needs(self) -> frozenset[str]:
        return self.quadrants.needs

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        return (self.quadrants(stats, valid_BT) == self.quadrant).float()
