"""Benchmarks, and how one is sampled and scored."""

from typing import Protocol, runtime_checkable

from tipx.rollout.hf import HFRollouts
from tipx.spec import Count, spec
from tipx.types import Prompt


@runtime_checkable
class Benchmark(Protocol):
    """A fixed set of problems with gold answers."""

    @property
    def name(self) -> str: ...

    def load(self) -> list[Prompt]:
        """All problems, always the same; raises DataError when they cannot be had or their number is wrong."""
        ...


@spec
class Evaluation:
    """`n` samples for each problem by `sampling`, and one greedy answer if `greedy`.

    `limit` takes the first so many problems only, and marks the result as partial.
    """

    n: Count
    greedy: bool
    limit: Count | None
    sampling: HFRollouts
