"""The errands as a training set and as a benchmark."""

from collections.abc import Mapping, Sequence
from itertools import islice

from tipx.deepplanning.shopping.scoring import aggregate
from tipx.embedded.agent.family import held_out, training
from tipx.embedded.agent.world import asked
from tipx.errors import DataError
from tipx.spec import Seed, Size, spec
from tipx.types import Prompt


@spec
class Errands:
    """`size` errands generated from `seed`, none of them among the benchmark's held-out ones."""

    size: Size
    seed: Seed

    def load(self) -> list[Prompt]:
        return [asked(errand) for errand in islice(training(self.seed), self.size)]


@spec
class HeldOutErrands:
    """The first `size` of the fixed held-out errands."""

    name: str
    size: Size

    def load(self, path: str | None) -> list[Prompt]:
        """They are generated: raises DataError for a path, and for more than there are."""
        if path is not None:
            raise DataError(
                f"eval.path: benchmark={self.name} is generated and reads no file, got {path!r}; leave it out"
            )
        try:
            return [asked(errand) for errand in held_out(self.size)]
        except ValueError as error:
            raise DataError(f"benchmark.size: {error}") from error

    def source(self, path: str | None) -> str:
        return "embedded"

    def aggregate(self, scores: Sequence[tuple[str, Mapping[str, float]]]) -> dict[str, float]:
        """DeepPlanning's own numbers for shopping."""
        return aggregate(scores)
