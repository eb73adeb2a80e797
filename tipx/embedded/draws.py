"""What both task families are drawn by: the same problems on every machine, in sets that share none.

Python promises the same stream across its versions for `Random.random()` alone, so all draws here use nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class ProblemSets(Generic[T]):
    """The held-out, validation and training problems of one family; no problem is in two of them.

    `draw` makes a problem and advances its generator, and `text` tells two problems apart. The first `held_out_limit`
    problems of a fixed stream are the benchmark, the next `validation_limit` decide when a student is good enough, and
    a training set is a stream of its own seed without all of these. `name` begins the seeds of all streams: another
    name makes another benchmark.
    """

    name: str
    draw: Callable[[Random], T]
    text: Callable[[T], str]
    held_out_limit: int
    validation_limit: int

    def held_out(self, n: int) -> list[T]:
        """Return the first `n` problems of the benchmark; ValueError past the limit."""
        return self._slice_reserved(n, 0, self.held_out_limit)

    def validation(self, n: int) -> list[T]:
        """Return `n` fixed problems that are in neither benchmark nor training set; ValueError past the limit."""
        return self._slice_reserved(n, self.held_out_limit, self.validation_limit)

    def training(self, seed: int) -> Iterator[T]:
        """Yield different problems for ever, none of them held out or for validation."""
        return self._stream(f"{self.name} training {seed}", {self.text(problem) for problem in self.reserved})

    @cached_property
    def reserved(self) -> tuple[T, ...]:
        """Every problem that no training set may contain: the benchmark, then those for validation."""
        stream = self._stream(f"{self.name} held out", set())
        return tuple(islice(stream, self.held_out_limit + self.validation_limit))

    def _stream(self, seed: str, without: set[str]) -> Iterator[T]:
        """Yield problems whose text is not in `without`, each text once. A string seed goes through SHA-512."""
        rng, seen = Random(seed), set(without)  # noqa: S311 - no secret is made
        while True:
            problem = self.draw(rng)
            if (text := self.text(problem)) not in seen:
                seen.add(text)
                yield problem

    def _slice_reserved(self, n: int, first: int, limit: int) -> list[T]:
        if not 0 <= n <= limit:
            raise ValueError(f"expected a number of problems in 0..{limit}, got {n}")
        return list(self.reserved[first : first + n])


def draw_between(rng: Random, low: int, high: int) -> int:
    """Return an integer of low..high, both ends included."""
    return low + int(rng.random() * (high - low + 1))


def draw_from(rng: Random, options: Sequence[T]) -> T:
    """Return one of the options, each as likely as any other."""
    return options[draw_between(rng, 0, len(options) - 1)]


def draw_and_remove(rng: Random, options: list[T]) -> T:
    """Return one of the options, and take it out of the list."""
    return options.pop(draw_between(rng, 0, len(options) - 1))


def draw_weighted(rng: Random, options: Sequence[tuple[str, int]]) -> str:
    """Return one of the texts, each as likely as its weight says."""
    roll = rng.random() * sum(weight for _, weight in options)
    for text, weight in options:
        roll -= weight
        if roll < 0:
            return text
    return options[-1][0]  # what rounding may leave over
