"""The word problems as a training set and as a benchmark."""

from collections.abc import Iterable
from itertools import islice

from tipx.embedded.arithmetic.family import BENCHMARK_SIZE, PROBLEMS, Problem
from tipx.embedded.data import refuse_path
from tipx.errors import DataError
from tipx.spec import Seed, Size, spec
from tipx.types import Prompt


@spec
class ArithmeticPrompts:
    """Generated word problems, none of them among the benchmark's held-out ones."""

    size: Size
    """Number of word problems."""
    seed: Seed
    """Seed that generates them. It is not the run's seed."""

    def load(self) -> list[Prompt]:
        return to_prompts(islice(PROBLEMS.training(self.seed), self.size))


@spec
class Arithmetic:
    """The fixed held-out word problems."""

    name: str
    """The benchmark's name in results, reports and metric keys."""
    size: Size
    """How many problems there must be; another number is refused. `eval.limit` takes fewer."""

    def load(self, path: str | None) -> list[Prompt]:
        """They are generated: raises DataError for a path."""
        refuse_path(self.name, path)
        if self.size != BENCHMARK_SIZE:
            raise DataError(f"benchmark.size: expected {self.size} problems, the embedded set has {BENCHMARK_SIZE}")
        return to_prompts(PROBLEMS.held_out(BENCHMARK_SIZE))

    def source(self, path: str | None) -> str:
        return "embedded"


def to_prompts(problems: Iterable[Problem]) -> list[Prompt]:
    return [Prompt(p.id, p.question, p.answer) for p in problems]
