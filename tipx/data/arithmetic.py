"""The embedded task as a training set."""

from tipx.embedded.arithmetic.task import training
from tipx.spec import Seed, Size, spec
from tipx.types import Prompt


@spec
class ArithmeticPrompts:
    """`size` word problems generated from `seed`, none of them among the benchmark's held-out ones."""

    size: Size
    seed: Seed

    def load(self) -> list[Prompt]:
        return [Prompt(p.id, p.question, p.answer) for p in training(self.seed, self.size)]
