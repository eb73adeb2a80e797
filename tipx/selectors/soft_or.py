"""Unsure or wrong: the paper's type-agnostic rule."""

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.selectors.divergence import DivergenceName
from tipx.selectors.normalise import Normalise
from tipx.spec import spec
from tipx.types import TokenStats


@spec
class SoftOr:
    """h^ + d^ - h^ d^, in [0, 1]: high when either axis is (arXiv 2604.14084, Soft-OR)."""

    divergence: DivergenceName
    norm: Normalise

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"student_entropy", self.divergence})

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        h_BT = self.norm.entropy(stats["student_entropy"], valid_BT)
        d_BT = self.norm.divergence(stats[self.divergence], valid_BT)
        # h + d - hd, written so that it is exactly 1 where either is: rounding would order the clipped tokens.
        return h_BT + d_BT * (1 - h_BT)
