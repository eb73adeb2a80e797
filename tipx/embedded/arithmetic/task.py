r"""The toy task: word problems of two to four gains and losses, each with a worked solution.

A question and one of its solutions, as the models see them (every word is one token, every digit is one token)::

    q : mia has 31 hats . finds 6 . drops 12 . how many ? a :
    start 31 . next 31 + 6 = 37 . now take 12 from 37 gives 25 . \boxed{ 25 }

The connector and the style of a step are drawn at random and do not change the answer, so that some positions carry
entropy that has nothing to do with being right. Everything here is a pure function of its seed.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from random import Random

NAMES = ("tom", "ann", "sam", "mia", "ben", "eva", "leo", "zoe", "max", "amy", "kim", "dan")
ITEMS = ("pens", "cards", "coins", "books", "apples", "stones", "shells", "stamps", "cups", "hats")
GAINS = ("gets", "buys", "finds", "wins")
LOSSES = ("loses", "sells", "drops", "lends")
# What opens a step, and its weight in percent: uneven on purpose, so that there is a distribution to learn.
CONNECTORS = (("then", 32), ("so", 22), ("now", 16), ("next", 14), ("so now", 10), ("and then", 6))
STEPS = (2, 4)  # number of gains and losses, both ends included
AMOUNTS = (2, 19)  # size of one gain or loss, both ends included
LARGEST = 99  # the start, every intermediate number and the answer lie in 0..LARGEST
EQUATION_SHARE = 0.6  # probability of "31 + 6 = 37" rather than "add 6 to 31 gives 37"

MAX_NEW_TOKENS = 72  # the longest solution has 57 tokens, <eos> included; the rest is room for a student's detours
HELD_OUT_LIMIT = 2048  # problems that no training set contains; the benchmark is a prefix of them
VALIDATION_LIMIT = 1024  # further problems kept from training, to decide when the student is good enough

_BOX = re.compile(r"\\boxed\{ (\d+) \}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One word problem; ``id`` follows from the question, ``answer`` is a decimal number in 0..99, no zeros ahead."""

    id: str
    question: str
    solution: str
    answer: str


def problem(rng: Random) -> Problem:
    """Draw one problem; advances ``rng``."""
    start = value = _between(rng, 0, LARGEST)
    told, solved = [], [f"start {start} ."]
    for _ in range(_between(rng, *STEPS)):
        amount = _between(rng, *AMOUNTS)
        gain = rng.random() < 0.5
        # A step that would leave 0..LARGEST is turned round; the other direction always fits, as 2 * 19 < 99.
        if not 0 <= (value + amount if gain else value - amount) <= LARGEST:
            gain = not gain
        told.append(f"{_pick(rng, GAINS if gain else LOSSES)} {amount} .")
        solved.append(_worked_step(rng, value, amount, gain=gain))
        value += amount if gain else -amount
    question = f"q : {_pick(rng, NAMES)} has {start} {_pick(rng, ITEMS)} . {' '.join(told)} how many ? a :"
    solution = f"{' '.join(solved)} \\boxed{{ {value} }}"
    identity = hashlib.sha256(question.encode()).hexdigest()[:12]
    return Problem(f"tiny-{identity}", question, solution, str(value))


def held_out(n: int = 512) -> list[Problem]:
    """Return the first ``n`` problems of the fixed benchmark, the same on every machine; ValueError past the limit."""
    return _reserved_slice(n, first=0, limit=HELD_OUT_LIMIT)


def validation(n: int = 512) -> list[Problem]:
    """Return ``n`` fixed problems that are in neither benchmark nor training set; ValueError past the limit."""
    return _reserved_slice(n, first=HELD_OUT_LIMIT, limit=VALIDATION_LIMIT)


def training(seed: int, n: int) -> list[Problem]:
    """Return ``n`` different problems, none of them held out or for validation; a smaller ``n`` gives a prefix."""
    if n < 0:
        raise ValueError(f"expected a number of training problems >= 0, got {n}")
    reserved = {p.question for p in _reserved()}
    return list(islice(_distinct(f"tiny training {seed}", reserved), n))


def final_answer(text: str) -> str | None:
    """Return the number in the last complete box of a response, or None where there is no such box."""
    boxes = _BOX.findall(text)
    return boxes[-1] if boxes else None


def is_correct(text: str, expected: Problem) -> bool:
    """Tell whether the last box of a response holds the answer, digit by digit."""
    return final_answer(text) == expected.answer


def words() -> tuple[str, ...]:
    """Return every word and mark of the task in a fixed order, digits aside, each once."""
    connectors = " ".join(connector for connector, _ in CONNECTORS).split()
    question = ("q", "a", ":", "?", ".", "has", "how", "many")
    solution = ("start", "+", "-", "=", "add", "to", "take", "from", "gives", "\\boxed{", "}")
    return tuple(dict.fromkeys((*question, *solution, *connectors, *GAINS, *LOSSES, *NAMES, *ITEMS)))


def _worked_step(rng: Random, value: int, amount: int, *, gain: bool) -> str:
    roll = rng.random() * sum(weight for _, weight in CONNECTORS)
    for connector, weight in CONNECTORS:  # noqa: B007 - the last connector takes what rounding may leave over
        roll -= weight
        if roll < 0:
            break
    result = value + amount if gain else value - amount
    if rng.random() < EQUATION_SHARE:
        return f"{connector} {value} {'+' if gain else '-'} {amount} = {result} ."
    return f"{connector} {f'add {amount} to' if gain else f'take {amount} from'} {value} gives {result} ."


# Python promises the same stream across versions for Random.random() alone, so the two draws below use nothing else.
def _between(rng: Random, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low + 1))


def _pick(rng: Random, options: Sequence[str]) -> str:
    return options[_between(rng, 0, len(options) - 1)]


def _distinct(seed: str, without: set[str]) -> Iterator[Problem]:
    """Yield problems for ever, skipping questions seen before; a string seed goes through SHA-512, anywhere."""
    rng, seen = Random(seed), set(without)  # noqa: S311 - no secret is made
    while True:
        drawn = problem(rng)
        if drawn.question not in seen:
            seen.add(drawn.question)
            yield drawn


@cache
def _reserved() -> tuple[Problem, ...]:
    return tuple(islice(_distinct("tiny held out", set()), HELD_OUT_LIMIT + VALIDATION_LIMIT))


def _reserved_slice(n: int, first: int, limit: int) -> list[Problem]:
    if not 0 <= n <= limit:
        raise ValueError(f"expected a number of problems in 0..{limit}, got {n}")
    return list(_reserved()[first : first + n])
