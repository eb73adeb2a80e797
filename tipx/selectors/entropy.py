"""Score by the student's entropy."""

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.spec import spec
from tipx.types import TokenStats


@spec
class Entropy:
    """H(P_S) in nats. The paper divides it by log V, which changes neither ranks nor sampling probabilities."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"student_entropy"})

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        return stats["student_entropy"].clamp(min=0) * valid_BT
