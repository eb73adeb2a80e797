"""The embedded benchmark: held-out word problems of the tiny pair's task."""

from tipx.errors import DataError
from tipx.spec import Count, spec
from tipx.tiny.task import held_out
from tipx.types import Prompt


@spec
class Arithmetic:
    """The fixed held-out problems; `size` states how many there must be."""

    name: str
    size: Count

    def load(self) -> list[Prompt]:
        problems = [Prompt(p.id, p.question, p.answer) for p in held_out()]
        if len(problems) != self.size:
            raise DataError(f"benchmark.size: expected {self.size} problems, the embedded set has {len(problems)}")
        return problems
