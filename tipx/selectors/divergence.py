"""Score by the divergence of the student from the teacher."""

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.spec import spec
from tipx.types import TokenStats

DivergenceName = Literal["reverse_kl", "forward_kl", "jsd"]


@spec
class Divergence:
    """The divergence of that name, nats. The paper's d_t and its rule `div_only` use reverse KL."""

    divergence: DivergenceName
    """Which divergence of student and teacher is the score, nats. The paper's div_only has reverse_kl. It need not
    be the one that is trained."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.divergence})

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        return stats[self.divergence].clamp(min=0) * valid_BT
