"""Score by position: earlier tokens score higher."""

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.spec import spec
from tipx.types import TokenStats


@spec
class Position:
    """1 - rank / m, where rank counts the m valid tokens of a response from 0 (arXiv 2606.22600)."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        rank_BT = valid_BT.float().cumsum(-1) - 1
        length_B1 = valid_BT.float().sum(-1, keepdim=True).clamp(min=1)
        return (1 - rank_BT / length_B1) * valid_BT
