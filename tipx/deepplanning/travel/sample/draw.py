"""Random draws that are the same on every machine and version: Python promises this for `random()` alone."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def between(rng: Random, low: int, high: int) -> int:
    """A whole number, both ends included."""
    return low + int(rng.random() * (high - low + 1))


def several(rng: Random, options: Sequence[T], count: int) -> list[T]:
    """So many different ones, in random order."""
    left = list(options)
    return [left.pop(between(rng, 0, len(left) - 1)) for _ in range(count)]


def different(rng: Random, low: int, high: int, count: int) -> list[int]:
    """So many different whole numbers, both ends included."""
    return several(rng, range(low, high + 1), count)
