"""The four quadrants of a step's tokens in numpy; the same numbers as `tipx.selectors.quadrant`, which needs torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tipx.runs.reader import SampledStep
from tipx.runs.snapshot import Floats, Snapshot

AXES = {"entropy": "student_entropy", "divergence": "reverse_kl"}
NAMES = {1: "unsure, wrong", 2: "unsure, agreeing", 3: "sure, wrong", 4: "solved"}


def quantile(ordered_N: Floats, q: float) -> np.float32:
    """Linear interpolation in fp32, of sorted values."""
    if len(ordered_N) == 0:
        return np.float32(0)
    place = q * (len(ordered_N) - 1)
    low = int(place)
    high = min(low + 1, len(ordered_N) - 1)
    return np.float32(ordered_N[low] + (ordered_N[high] - ordered_N[low]) * np.float32(place - low))


@dataclass(frozen=True)
class Thresholds:
    """Where high begins on both axes, nats, over the valid tokens of a whole step; and which quantiles these are."""

    quantiles: dict[str, float]
    values: dict[str, np.float32]

    @classmethod
    def of(cls, snapshot: Snapshot, entropy: float, divergence: float) -> "Thresholds":
        """At these quantiles."""
        quantiles = {"entropy": entropy, "divergence": divergence}
        return cls(quantiles, {axis: quantile(ordered(snapshot, axis), q) for axis, q in quantiles.items()})

    @classmethod
    def of_step(cls, step: SampledStep) -> "Thresholds":
        """At the quantiles of the run, as its log has them."""
        names = ("quadrants.entropy_quantile", "quadrants.divergence_quantile")
        return cls.of(step.snapshot, *(step.run.need(name, float) for name in names))

    def quadrants(self, snapshot: Snapshot) -> NDArray[np.int64]:
        """1..4 of the valid tokens, 0 of others."""
        unsure_N, wrong_N = (snapshot.stats[name] > self.values[axis] for axis, name in AXES.items())
        return (1 + ~wrong_N + 2 * ~unsure_N.astype(bool)) * snapshot.valid_N


def ordered(snapshot: Snapshot, axis: str) -> Floats:
    """The values of an axis at valid tokens, sorted."""
    return np.sort(snapshot.stats[AXES[axis]][snapshot.valid_N])


def table(snapshot: Snapshot, axis: str) -> Floats:
    """Thresholds at the quantiles 0, 0.001, ... 1."""
    values = ordered(snapshot, axis)
    return np.array([quantile(values, i / 1000) for i in range(1001)], np.float32)
