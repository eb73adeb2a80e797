"""The highest scores."""

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.selectors.budget import Budget
from tipx.spec import spec


@spec
class TopK(Budget):
    """Keep the tokens with the highest scores."""

    def __call__(
        self, score_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"], noise: Noise
    ) -> Float[Tensor, "B T"]:
        return self.keep_highest(score_BT, valid_BT)
