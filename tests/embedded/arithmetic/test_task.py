"""The toy task: fixed held-out problems, clean training sets, answers that are right."""

import hashlib
import os
import re
import subprocess
import sys
from itertools import pairwise
from random import Random

import pytest

from tipx.embedded.arithmetic.task import (
    AMOUNTS,
    GAINS,
    HELD_OUT_LIMIT,
    LARGEST,
    LOSSES,
    STEPS,
    VALIDATION_LIMIT,
    Problem,
    final_answer,
    held_out,
    is_correct,
    problem,
    training,
    validation,
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


def digest(problems: list[Problem]) -> str:
    return hashlib.sha256("\n".join(f"{p.question} {p.answer}" for p in problems).encode()).hexdigest()


def test_held_out_problems_never_change() -> None:
    assert len(held_out()) == 512
    assert digest(held_out()) == HELD_OUT_SHA256


def test_hash_randomisation_changes_nothing() -> None:
    code = "from tipx.embedded.arithmetic.task import training; print(*training(3, 20), sep='\\n')"
    texts = [
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": salt}, capture_output=True, check=True
        ).stdout.decode()
        for salt in ("1", "2")
    ]
    assert texts[0] == texts[1] == "\n".join(map(str, training(3, 20))) + "\n"


@pytest.mark.parametrize("seed", [0, 1, 7, 1000])
def test_training_is_distinct_and_free_of_reserved_problems(seed: int) -> None:
    questions = [p.question for p in training(seed, 3000)]
    reserved = {p.question for p in held_out(HELD_OUT_LIMIT) + validation(VALIDATION_LIMIT)}
    assert len(reserved) == HELD_OUT_LIMIT + VALIDATION_LIMIT
    assert len(set(questions)) == len(questions) == 3000
    assert reserved.isdisjoint(questions)


def test_training_skips_a_reserved_question_that_its_stream_would_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    # Overlap by chance is rare, so the filter is tried on a question that the stream surely contains.
    first, second, third = training(5, 3)
    monkeypatch.setattr("tipx.embedded.arithmetic.task._reserved", lambda: (second,))
    assert training(5, 2) == [first, third]


def test_smaller_sets_are_prefixes_and_seeds_differ() -> None:
    assert training(4, 50) == training(4, 80)[:50]
    assert held_out(20) == held_out()[:20]
    assert training(4, 50) != training(5, 50)
    assert training(4, 0) == []


@pytest.mark.parametrize("drawn", [held_out, validation])
def test_numbers_out_of_range_are_refused(drawn: object) -> None:
    assert callable(drawn)
    with pytest.raises(ValueError, match=r"in 0\.\.(2048|1024), got 5000"):
        drawn(5000)
    with pytest.raises(ValueError, match="got -1"):
        drawn(-1)


def test_a_negative_training_set_is_refused() -> None:
    with pytest.raises(ValueError, match="got -1"):
        training(0, -1)


def test_answers_follow_from_questions() -> None:
    for p in held_out() + training(2, 2000):
        numbers = changes(p.question)
        assert STEPS[0] <= len(numbers) - 1 <= STEPS[1]
        assert all(AMOUNTS[0] <= abs(step) <= AMOUNTS[1] for step in numbers[1:])
        assert all(0 <= sum(numbers[:end]) <= LARGEST for end in range(1, len(numbers) + 1))
        assert p.answer == str(sum(numbers))
        assert is_correct(p.solution, p)


def test_every_step_of_a_solution_is_true() -> None:
    for p in training(6, 500):
        values = [int(re.findall(r"start (\d+) \.", p.solution)[0])]
        for line in p.solution.split(" . ")[1:-1]:
            a, b, c = map(int, re.findall(r"\d+", line))
            old, change = (b, a) if "gives" in line else (a, b)
            values.append(old - change if "-" in line or "take" in line else old + change)
            assert (old, c) == tuple(values[-2:])
        assert [b - a for a, b in pairwise(values)] == changes(p.question)[1:]


def test_both_styles_and_all_step_counts_occur() -> None:
    drawn = training(0, 300)
    assert {len(changes(p.question)) - 1 for p in drawn} == {2, 3, 4}
    assert any(" + " in p.solution for p in drawn)
    assert any(" gives " in p.solution for p in drawn)


def test_ids_belong_to_questions() -> None:
    drawn = held_out(HELD_OUT_LIMIT) + training(0, 3000)
    assert len({p.id for p in drawn}) == len(drawn)
    assert problem(Random(9)) == problem(Random(9))


def test_the_last_box_counts() -> None:
    asked = held_out(1)[0]
    assert final_answer("so \\boxed{ 3 } . so \\boxed{ 12 }") == "12"
    assert final_answer("\\boxed{ 3") is None
    assert final_answer("\\boxed{ }") is None
    assert not is_correct(f"\\boxed{{ {asked.answer}0 }}", asked)
    assert not is_correct("", asked)
