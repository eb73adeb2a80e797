"""Which tokens to train on: a score says how much a token matters, a pick turns scores into weights.

Score and pick are separate choices, because the paper's rules differ in both at once: it samples by entropy, but takes
the top k by Soft-OR. Both are pure functions of the whole step's statistics (every sequence of every process). So the
result does not depend on micro-batches or on the number of processes. To add a rule, write a file here and a YAML of
the same name under `conf/selector/score/` or `conf/selector/pick/`.
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
        """Names of the `TokenStats` fields that the score reads. Only these are computed."""
        ...

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        """Scores of the step, >= 0. Tokens that are not valid have score 0."""
        ...


@runtime_checkable
class Pick(Protocol):
    """From scores to training weights."""

    def __call__(
        self, score_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"], noise: Noise
    ) -> Float[Tensor, "B T"]:
        """Weights >= 0. Tokens that are not valid have weight 0. Weights of 0 and 1 are a hard selection."""
        ...


@spec
class Selector:
    """A score and a pick: which tokens of a step are trained on."""

    score: Score
    """How much a token matters: a number for each token."""
    pick: Pick
    """Which tokens are kept, given their scores."""

    @property
    def needs(self) -> frozenset[str]:
        return self.score.needs

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        """Weights (B, T) of the whole step, from its statistics. Row b must be row b of the step."""
        score_BT = self.score(stats, valid_BT, noise.substream("score"))
        return self.pick(score_BT, valid_BT, noise.substream("pick"))
