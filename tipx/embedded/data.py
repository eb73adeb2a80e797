"""What the generated benchmarks share."""

from tipx.errors import DataError


def refuse_path(benchmark: str, path: str | None) -> None:
    """Raises DataError for a path: the problems are generated."""
    if path is not None:
        raise DataError(f"eval.path: benchmark={benchmark} is generated and reads no file, got {path!r}; leave it out")
