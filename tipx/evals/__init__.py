"""Benchmarks, and how one is sampled and scored."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from tipx.agents.loop import AgentRollouts
from tipx.agents.server import ServedAgents
from tipx.rollout.hf import HFRollouts
from tipx.rollout.vllm import VLLMRollouts
from tipx.spec import Count, PathText, Samples, spec
from tipx.types import Prompt


@runtime_checkable
class Benchmark(Protocol):
    """A fixed set of problems with gold answers."""

    @property
    def name(self) -> str: ...

    def load(self, path: str | None) -> list[Prompt]:
        """All problems, from `path` if there is one; raises DataError when they cannot be had or are not all there."""
        ...

    def source(self, path: str | None) -> str:
        """Where `load` has them from."""
        ...


@runtime_checkable
class Aggregated(Protocol):
    """A benchmark of tasks with numbers of its own over all of them."""

    def aggregate(self, scores: Sequence[tuple[str, Mapping[str, float]]]) -> dict[str, float]:
        """From (slice, scores) of one trajectory of every task."""
        ...


@runtime_checkable
class Remarked(Protocol):
    """A benchmark of whose numbers one must know something."""

    def remarks(self, how: "Evaluation") -> dict[str, Any]:
        """What the result says besides, in plain containers; `notes` are lines that are shown beside its numbers."""
        ...

    def checksums(self, path: str | None) -> dict[str, str]:
        """Of the data behind its problems that the problems themselves do not show; {} where none are known."""
        ...


@spec
class Evaluation:
    """How a benchmark is answered."""

    path: PathText | None
    """A file of the benchmark's problems, or a folder of files named after benchmarks. null is the hub, or its
    cache."""
    n: Samples
    """Samples for each problem; mean@k, pass@k and maj@k are up to this k."""
    greedy: bool
    """Whether each problem is also answered once greedily."""
    limit: Count | None
    """Only the first so many problems; the result is then marked as partial. null takes all."""
    sampling: HFRollouts | VLLMRollouts | AgentRollouts | ServedAgents
    """How an answer is sampled, or a trajectory for agents' tasks."""
