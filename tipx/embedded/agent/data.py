"""The errands as a training set and as a benchmark."""

from collections.abc import Mapping, Sequence
from itertools import islice

from tipx.deepplanning.shopping.scoring import aggregate
from tipx.embedded.agent.family import ERRANDS
from tipx.embedded.agent.world import to_prompt
from tipx.embedded.data import refuse_path
from tipx.errors import DataError
from tipx.spec import Seed, Size, spec
from tipx.types import Prompt


@spec
class Errands:
    """Generated errands, none of them among the benchmark's held-out ones."""

    size: Size
    """Number of errands."""
    seed: Seed
    """Seed that generates them. It is not the run's seed."""

    def load(self) -> list[Prompt]:
        return [to_prompt(errand) for errand in islice(ERRANDS.training(self.seed), self.size)]


@spec
class HeldOutErrands:
    """Fixed errands that are not trained on."""

    name: str
    """The benchmark's name in results, reports and metric keys."""
    size: Size
    """The first so many of the fixed errands."""

    def load(self, path: str | None) -> list[Prompt]:
        """They are generated: raises DataError for a path, and for more than there are."""
        refuse_path(self.name, path)
        try:
            return [to_prompt(errand) for errand in ERRANDS.held_out(self.size)]
        except ValueError as error:
            raise DataError(f"benchmark.size: {error}") from error

    def source(self, path: str | None) -> str:
        return "embedded"

    def aggregate(self, scores: Sequence[tuple[str, Mapping[str, float]]]) -> dict[str, float]:
        """DeepPlanning's own numbers for shopping."""
        return aggregate(scores)
