"""The word problems: a fixed benchmark, and answers that are right."""

import hashlib
import re
from itertools import islice, pairwise
from random import Random

from tipx.embedded.arithmetic.family import (
    AMOUNTS,
    BENCHMARK_SIZE,
    GAINS,
    LARGEST,
    LOSSES,
    PROBLEMS,
    STEPS,
    Problem,
    draw_problem,
    final_answer,
    is_correct,
)

# Changing the generator changes the benchmark: every score published on it would then mean something else.
HELD_OUT_SHA256 = "f07d3deb43107d4d57920bd57d6720de001b5eea40fffbfbb7d2b9c931dc003a"


def changes(question: str) -> list[int]:
    """The start and the signed steps, read from the question by another way than the generator's."""
    start = re.search(r" has (\d+) ", question)
    assert start is not None
    steps = re.findall(r"(\w+) (\d+) \.", question.partition(" . ")[2])
    assert all(verb in GAINS + LOSSES for verb, _ in steps)
    return [int(start[1]), *(int(amount) if verb in GAINS else -int(amount) for verb, amount in steps)]


def train(seed: int, n: int) -> list[Problem]:
    """A training set of `n` problems."""
    return list(islice(PROBLEMS.training(seed), n))


def digest(problems: list[Problem]) -> str:
    return hashlib.sha256("\n".join(f"{p.question} {p.answer}" for p in problems).encode()).hexdigest()


def test_held_out_problems_never_change() -> None:
    assert BENCHMARK_SIZE == 512
    assert digest(PROBLEMS.held_out(512)) == HELD_OUT_SHA256


def test_answers_follow_from_questions() -> None:
    for p in PROBLEMS.held_out(512) + train(2, 2000):
        numbers = changes(p.question)
        assert STEPS[0] <= len(numbers) - 1 <= STEPS[1]
        assert all(AMOUNTS[0] <= abs(step) <= AMOUNTS[1] for step in numbers[1:])
        assert all(0 <= sum(numbers[:end]) <= LARGEST for end in range(1, len(numbers) + 1))
        assert p.answer == str(sum(numbers))
        assert is_correct(p.solution, p)


def test_every_step_of_a_solution_is_true() -> None:
    for p in train(6, 500):
        values = [int(re.findall(r"start (\d+) \.", p.solution)[0])]
        for line in p.solution.split(" . ")[1:-1]:
            a, b, c = map(int, re.findall(r"\d+", line))
            old, change = (b, a) if "gives" in line else (a, b)
            values.append(old - change if "-" in line or "take" in line else old + change)
            assert (old, c) == tuple(values[-2:])
        assert [b - a for a, b in pairwise(values)] == changes(p.question)[1:]


def test_both_styles_and_all_step_counts_occur() -> None:
    drawn = train(0, 300)
    assert {len(changes(p.question)) - 1 for p in drawn} == {2, 3, 4}
    assert any(" + " in p.solution for p in drawn)
    assert any(" gives " in p.solution for p in drawn)


def test_ids_belong_to_questions() -> None:
    drawn = PROBLEMS.held_out(2048) + train(0, 3000)
    assert len({p.id for p in drawn}) == len(drawn)
    assert draw_problem(Random(9)) == draw_problem(Random(9))


def test_the_last_box_counts() -> None:
    asked = PROBLEMS.held_out(1)[0]
    assert final_answer("so \\boxed{ 3 } . so \\boxed{ 12 }") == "12"
    assert final_answer("\\boxed{ 3") is None
    assert final_answer("\\boxed{ }") is None
    assert not is_correct(f"\\boxed{{ {asked.answer}0 }}", asked)
    assert not is_correct("", asked)
