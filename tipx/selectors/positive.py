"""Pick by a mask: every token with a positive score."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.spec import Whole, spec


@spec
class Positive:
    """Keep the tokens of score > 0. The data decide how many these are."""

    min_keep: Whole
    """Tokens of the step that are kept at least. If fewer have a positive score, the first other tokens are kept,
    too."""

    def __call__(
        self, score_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"], noise: Noise
    ) -> Float[Tensor, "B T"]:
        kept_N = (score_BT[valid_BT] > 0).float()
        missing = min(self.min_keep, len(kept_N)) - int(kept_N.sum())
        if missing > 0:
            kept_N[(kept_N == 0).nonzero()[:missing, 0]] = 1.0
        weights_BT = torch.zeros(valid_BT.shape, device=valid_BT.device)
        weights_BT[valid_BT] = kept_N
        return weights_BT
