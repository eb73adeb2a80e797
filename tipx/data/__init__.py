"""Where training prompts come from, and in which order they are used."""

from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

from tipx.noise import Noise
from tipx.types import Prompt


@runtime_checkable
class PromptSource(Protocol):
    """A training set of prompts."""

    def load(self) -> list[Prompt]:
        """Every prompt; raises DataError when there is none to be had."""
        ...


@runtime_checkable
class FromFiles(Protocol):
    """A training set that is read from files."""

    def record(self) -> dict[str, Any]:
        """Which files, with their sizes and checksums, in plain containers."""
        ...


def batch_indices(size: int, step: int, count: int, seed: int) -> list[int]:
    """Which `count` of `size` prompts step `step` (from 1) uses: a new random order each epoch, no state."""
    out = []
    for position in range((step - 1) * count, step * count):
        epoch, place = divmod(position, size)
        out.append(_order(size, epoch, seed)[place])
    return out


def used_indices(size: int, steps: int, count: int, seed: int) -> set[int]:
    """Which of `size` prompts the first `steps` steps use."""
    return {i for step in range(1, steps + 1) for i in batch_indices(size, step, count, seed)}


@lru_cache(maxsize=2)
def _order(size: int, epoch: int, seed: int) -> list[int]:
    return Noise(seed, epoch, "data").draw_permutation(size)
