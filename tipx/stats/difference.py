"""What every test of "is B better than A?" gives."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """Mean of B - A, its 95 % confidence interval, and the two-sided p-value of "no difference".

    `low` and `high` are None where one value has no interval. `exact` says that a permutation test counted every way to
    swap A and B.
    """

    difference: float
    low: float | None
    high: float | None
    p: float
    exact: bool = False
