"""Overconfident and wrong."""

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.selectors.divergence import DivergenceName
from tipx.selectors.normalise import Normalise
from tipx.spec import spec
from tipx.types import TokenStats


@spec
class Q3:
    """divergence * (1 - h^). The paper ranks by forward KL here, though it trains on reverse KL (arXiv 2604.14084)."""

    divergence: DivergenceName
    norm: Normalise

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"student_entropy", self.divergence})

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        h_BT = self.norm.entropy(stats["student_entropy"], valid_BT)
        return stats[self.divergence].clamp(min=0) * (1 - h_BT) * valid_BT
