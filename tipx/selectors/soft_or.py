"""The paper's Soft-OR: tokens where the student is unsure, or wrong, or both."""

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.selectors.divergence import DivergenceName
from tipx.selectors.normalise import Normalise
from tipx.spec import spec
from tipx.types import TokenStats


@spec
class SoftOr:
    """h^ + d^ - h^ d^ in [0, 1] (arXiv 2604.14084, Soft-OR).

    h^ and d^ are the normalised student entropy and divergence. Read as probabilities of two independent events they
    give the probability of at least one: the score is 1 if either is 1, and 0 only if both are 0.
    """

    divergence: DivergenceName
    """The divergence that is joined with entropy. The paper's has reverse_kl."""
    norm: Normalise
    """How entropy and divergence are normalised. The presets take it from the group `norm`."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"student_entropy", self.divergence})

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        h_BT = self.norm.entropy(stats["student_entropy"], valid_BT)
        d_BT = self.norm.divergence(stats[self.divergence], valid_BT)
        # The same as h + d - h d, but exactly 1 where h or d is 1. Rounding must not rank the clipped tokens.
        return h_BT + d_BT * (1 - h_BT)
