"""Several benchmarks under one name: each is evaluated, and has its own result."""

from tipx.evals import Benchmark, Evaluation
from tipx.spec import MOST, spec, within


@spec
class Suite:
    """Several benchmarks, with one result each."""

    name: str
    """Name of the suite. Results carry the names of its parts."""
    parts: dict[str, Benchmark]
    """The benchmarks by name, in order."""


def suite_parts(benchmark: Benchmark | Suite) -> list[Benchmark]:
    """The benchmarks that are evaluated one by one."""
    return list(benchmark.parts.values()) if isinstance(benchmark, Suite) else [benchmark]


def check_answers(benchmark: Benchmark | Suite, how: Evaluation) -> None:
    """Raises PydanticCustomError for more answers than an evaluation may keep; not every benchmark says its size."""
    for one in suite_parts(benchmark):
        problems = min(getattr(one, "size", 0), how.limit or MOST)
        within(f"{one.name}: problems * n", problems * (how.n + how.greedy), MOST)
