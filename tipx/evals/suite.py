"""Several benchmarks under one name: each is evaluated, and has its own result."""

from tipx.evals import Benchmark
from tipx.spec import spec


@spec
class Suite:
    """Benchmarks by name, in order."""

    name: str
    parts: dict[str, Benchmark]


def parts(benchmark: Benchmark | Suite) -> list[Benchmark]:
    """The benchmarks that are evaluated one by one."""
    return list(benchmark.parts.values()) if isinstance(benchmark, Suite) else [benchmark]
