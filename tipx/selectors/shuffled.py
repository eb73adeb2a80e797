"""A control: the scores of another rule, given to the wrong tokens."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.selectors import Score
from tipx.spec import spec
from tipx.types import TokenStats


@spec
class Shuffled:
    """Permutes another score inside each response. Its distribution stays, its information is lost."""

    of: Score
    """The score that is permuted: selector/score@selector.score.of=NAME."""

    @property
    def needs(self) -> frozenset[str]:
        return self.of.needs

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        score_BT = self.of(stats, valid_BT, noise.substream("of"))
        draws_BT = noise.draw_tokens(valid_BT)
        out_BT = torch.zeros_like(score_BT)
        for b in range(len(score_BT)):
            valid_T = valid_BT[b]
            out_BT[b, valid_T] = score_BT[b, valid_T][draws_BT[b, valid_T].argsort(stable=True)]
        return out_BT
