"""Earlier tokens score higher."""

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.spec import spec
from tipx.types import TokenStats


@spec
class Position:
    """1 - rank/m for the token of 0-based rank among the m valid tokens of its response (arXiv 2606.22600)."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        rank_BT = valid_BT.float().cumsum(-1) - 1
        length_B1 = valid_BT.float().sum(-1, keepdim=True).clamp(min=1)
        return (1 - rank_BT / length_B1) * valid_BT
