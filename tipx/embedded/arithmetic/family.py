r"""The task family of the arithmetic pair: word problems of two to four gains and losses, each with a worked solution.

A question and one of its solutions, as the models see them (every word is one token, every digit is one token)::

    q : mia has 31 hats . finds 6 . drops 12 . how many ? a :
    start 31 . next 31 + 6 = 37 . now take 12 from 37 gives 25 . \boxed{ 25 }

The connector and the style of a step are drawn at random and do not change the answer, so that some positions carry
entropy that has nothing to do with being right. Everything here is a pure function of its seed.
"""

import hashlib
import re
from dataclasses import dataclass
from random import Random

from tipx.embedded.draws import ProblemSets, draw_between, draw_from, draw_weighted

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
BENCHMARK_SIZE = 512  # problems: the first of those that are held out

_BOX = re.compile(r"\\boxed\{ (\d+) \}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One word problem; ``id`` follows from the question, ``answer`` is a decimal number in 0..99, no zeros ahead."""

    id: str
    question: str
    solution: str
    answer: str


def draw_problem(rng: Random) -> Problem:
    """Draw one problem; advances ``rng``."""
    start = value = draw_between(rng, 0, LARGEST)
    told, solved = [], [f"start {start} ."]
    for _ in range(draw_between(rng, *STEPS)):
        amount = draw_between(rng, *AMOUNTS)
        gain = rng.random() < 0.5
        # A step that would leave 0..LARGEST is turned round; the other direction always fits, as 2 * 19 < 99.
        if not 0 <= (value + amount if gain else value - amount) <= LARGEST:
            gain = not gain
        told.append(f"{draw_from(rng, GAINS if gain else LOSSES)} {amount} .")
        solved.append(write_step(rng, value, amount, gain=gain))
        value += amount if gain else -amount
    question = f"q : {draw_from(rng, NAMES)} has {start} {draw_from(rng, ITEMS)} . {' '.join(told)} how many ? a :"
    solution = f"{' '.join(solved)} \\boxed{{ {value} }}"
    identity = hashlib.sha256(question.encode()).hexdigest()[:12]
    return Problem(f"tiny-{identity}", question, solution, str(value))


PROBLEMS = ProblemSets(
    "tiny", draw_problem, lambda problem: problem.question, held_out_limit=2048, validation_limit=1024
)


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


def write_step(rng: Random, value: int, amount: int, *, gain: bool) -> str:
    """Return one step of a solution, in words or as an equation; advances ``rng``."""
    connector = draw_weighted(rng, CONNECTORS)
    result = value + amount if gain else value - amount
    if rng.random() < EQUATION_SHARE:
        return f"{connector} {value} {'+' if gain else '-'} {amount} = {result} ."
    return f"{connector} {f'add {amount} to' if gain else f'take {amount} from'} {value} gives {result} ."
