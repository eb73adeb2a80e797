"""No selection."""

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.spec import spec


@spec
class Everything:
    """Keep every valid token. The score is not used."""

    def __call__(
        self, score_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"], noise: Noise
    ) -> Float[Tensor, "B T"]:
        return valid_BT.float()
