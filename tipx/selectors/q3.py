"""The paper's rule for quadrant Q3: tokens where the student is sure and wrong."""

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.selectors.divergence import DivergenceName
from tipx.selectors.normalise import Normalise
from tipx.spec import spec
from tipx.types import TokenStats


@spec
class Q3:
    """divergence * (1 - h^), where h^ is the normalised student entropy: high if the student is far off and sure.

    The paper (arXiv 2604.14084) ranks by forward KL here, although it trains on reverse KL. So its rules `q3_only` and
    `div_only` differ in two things; `q3_reverse` differs from `div_only` in the factor 1 - h^ alone. The product is a
    ranking, not a quadrant with sharp borders: kept tokens may lie in Q1, if their divergence is large enough.
    """

    divergence: DivergenceName
    """The divergence that is multiplied by (1 - normalised entropy). The paper's q3_only has forward_kl."""
    norm: Normalise
    """How entropy is normalised. The presets take it from the group `norm`."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"student_entropy", self.divergence})

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        h_BT = self.norm.entropy(stats["student_entropy"], valid_BT)
        return stats[self.divergence].clamp(min=0) * (1 - h_BT) * valid_BT
