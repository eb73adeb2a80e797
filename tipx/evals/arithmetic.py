"""The embedded benchmark: held-out word problems of the tiny pair's task."""

from tipx.embedded.arithmetic.task import held_out
from tipx.errors import DataError
from tipx.spec import Size, spec
from tipx.types import Prompt


@spec
class Arithmetic:
    """The fixed held-out problems; `size` states how many there must be."""

    name: str
    size: Size

    def load(self, path: str | None) -> list[Prompt]:
        """They are generated: raises DataError for a path."""
        if path is not None:
            raise DataError(
                f"eval.path: benchmark={self.name} is generated and reads no file, got {path!r}; leave it out"
            )
        problems = [Prompt(p.id, p.question, p.answer) for p in held_out()]
        if len(problems) != self.size:
            raise DataError(f"benchmark.size: expected {self.size} problems, the embedded set has {len(problems)}")
        return problems

    def source(self, path: str | None) -> str:
        return "embedded"
