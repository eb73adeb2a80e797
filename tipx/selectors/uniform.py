"""Every token scores the same."""

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.spec import spec
from tipx.types import TokenStats


@spec
class Uniform:
    """Score 1 for every token. The pick `sample` makes it the random control, the pick `all` the baseline."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        return valid_BT.float()
