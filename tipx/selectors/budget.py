"""How many tokens a budgeted pick keeps, and keeping exactly so many."""

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
    """ratio * m tokens of each response (or of the whole step), rounded, at least `min_keep` and at most all m."""

    ratio: Ratio
    scope: Scope
    rounding: Rounding
    min_keep: Whole

    def count(self, m: int) -> int:
        """Tokens to keep of m."""
        # Decimal arithmetic: in floats floor(0.29 * 100) is 28.
        return min(m, max(self.min_keep, ROUNDERS[self.rounding](Fraction(str(self.ratio)) * m)))

    def keep_highest(self, priority_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """0/1 weights of the highest priorities. Ties go to the earlier token, so that the set is deterministic."""
        weights_BT = torch.zeros(valid_BT.shape, device=valid_BT.device)
        if self.scope == "step":
            weights_BT[valid_BT] = _mark_highest(priority_BT[valid_BT], self.count(int(valid_BT.sum())))
            return weights_BT
        for b, valid_T in enumerate(valid_BT):
            weights_BT[b, valid_T] = _mark_highest(priority_BT[b, valid_T], self.count(int(valid_T.sum())))
        return weights_BT


def _mark_highest(priority_N: Float[Tensor, " N"], k: int) -> Float[Tensor, " N"]:
    order = priority_N.sort(descending=True, stable=True).indices
    return torch.zeros(len(priority_N), device=priority_N.device).index_fill(0, order[:k], 1.0)
