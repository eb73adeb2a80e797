"""How many tokens a pick with a budget keeps, and how it keeps exactly that number."""

import math
from fractions import Fraction
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tipx.spec import Ratio, Whole, spec

Scope = Literal["response", "step"]
Rounding = Literal["floor", "round", "ceil"]
ROUNDERS = {"floor": math.floor, "ceil": math.ceil, "round": lambda x: math.floor(x + Fraction(1, 2))}


@spec
class Budget:
    """Keeps round(ratio * m) of the m valid tokens."""

    ratio: Ratio
    """Share of the valid tokens to keep. The presets take it from the top-level `ratio`."""
    scope: Scope
    """response: the share of each response by itself. step: of all responses together; a response may then keep
    none."""
    rounding: Rounding
    """How ratio * m becomes a whole number of tokens: floor, round (half up) or ceil."""
    min_keep: Whole
    """Tokens that are kept at least, of each response or of the step as `scope` says, as far as there are so many."""

    def count_kept(self, m: int) -> int:
        """The number of tokens to keep of m."""
        # Exact fractions of the decimal number that was typed: in floats floor(0.29 * 100) is 28.
        return min(m, max(self.min_keep, ROUNDERS[self.rounding](Fraction(str(self.ratio)) * m)))

    def keep_highest(self, priority_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """Weight 1 for the highest priorities, 0 for the rest. Of equal priorities the earlier token is kept."""
        weights_BT = torch.zeros(valid_BT.shape, device=valid_BT.device)
        if self.scope == "step":
            weights_BT[valid_BT] = _mark_highest(priority_BT[valid_BT], self.count_kept(int(valid_BT.sum())))
            return weights_BT
        for b, valid_T in enumerate(valid_BT):
            weights_BT[b, valid_T] = _mark_highest(priority_BT[b, valid_T], self.count_kept(int(valid_T.sum())))
        return weights_BT


def _mark_highest(priority_N: Float[Tensor, " N"], k: int) -> Float[Tensor, " N"]:
    order = priority_N.sort(descending=True, stable=True).indices
    return torch.zeros(len(priority_N), device=priority_N.device).index_fill(0, order[:k], 1.0)
