"""Which tokens to train on: a score says how much a token matters, a pick turns scores into weights.

Both are pure functions of the whole step's statistics, so the result cannot depend on how the step is split. To add
one: write a file here and a YAML of the same name under `conf/selector/score/` or `conf/selector/pick/`.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.spec import spec
from tipx.types import TokenStats


@runtime_checkable
class Score(Protocol):
    """Importance of each token: higher matters more."""

    @property
    def needs(self) -> frozenset[str]:
        """Names of the `TokenStats` fields it reads; the engine computes no others."""
        ...

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        """Scores of the step, >= 0, and 0 off valid."""
        ...


@runtime_checkable
class Pick(Protocol):
    """From scores to training weights."""

    def __call__(
        self, score_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"], noise: Noise
    ) -> Float[Tensor, "B T"]:
        """Weights >= 0, and 0 off valid; 0/1 is a hard selection."""
        ...


@spec
class Selector:
    """score x pick."""

    score: Score
    pick: Pick

    @property
    def needs(self) -> frozenset[str]:
        return self.score.needs

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        """Weights (B, T) of the whole step, from its statistics. Row b must be row b of the step."""
        score_BT = self.score(stats, valid_BT, noise.substream("score"))
        return self.pick(score_BT, valid_BT, noise.substream("pick"))
