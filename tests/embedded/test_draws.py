"""Sets of problems of both families: the same everywhere, each problem in one set only."""

import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from random import Random
from typing import Any

import pytest

from tipx.embedded.agent.family import ERRANDS
from tipx.embedded.arithmetic.family import PROBLEMS
from tipx.embedded.draws import ProblemSets, draw_and_remove, draw_between, draw_from, draw_weighted

Sets = ProblemSets[Any]
both = pytest.mark.parametrize("sets", [PROBLEMS, ERRANDS], ids=["arithmetic", "agent"])


@both
def test_no_problem_is_in_two_sets(sets: Sets) -> None:
    reserved = sets.held_out(sets.held_out_limit) + sets.validation(sets.validation_limit)
    for seed in (0, 1, 7, 1000):
        texts = [sets.text(problem) for problem in [*reserved, *islice(sets.training(seed), 3000)]]
        assert len(set(texts)) == len(texts)


@both
def test_training_skips_a_reserved_problem_that_its_stream_would_draw(
    sets: Sets, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Overlap by chance is rare, so the filter is tried on a problem that the stream surely contains.
    first, second, third = islice(sets.training(5), 3)
    copy = replace(sets)
    monkeypatch.setitem(vars(copy), "reserved", (second,))
    assert list(islice(copy.training(5), 2)) == [first, third]


@both
def test_smaller_sets_are_prefixes_and_seeds_differ(sets: Sets) -> None:
    assert sets.held_out(20) == sets.held_out(80)[:20]
    assert sets.held_out(0) == []
    assert list(islice(sets.training(4), 50)) != list(islice(sets.training(5), 50))


@both
@pytest.mark.parametrize("wrong", [-1, 5000])
def test_numbers_out_of_range_are_refused(sets: Sets, wrong: int) -> None:
    with pytest.raises(ValueError, match=rf"in 0\.\.{sets.held_out_limit}, got {wrong}"):
        sets.held_out(wrong)
    with pytest.raises(ValueError, match=rf"in 0\.\.{sets.validation_limit}, got {wrong}"):
        sets.validation(wrong)


def test_hash_randomisation_changes_nothing() -> None:
    code = (
        "from itertools import islice; from tipx.embedded.arithmetic.family import PROBLEMS;"
        "print(*islice(PROBLEMS.training(3), 20), sep='\\n')"
    )
    texts = [
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": salt}, capture_output=True, check=True
        ).stdout.decode()
        for salt in ("1", "2")
    ]
    assert texts[0] == texts[1] == "\n".join(map(str, islice(PROBLEMS.training(3), 20))) + "\n"


def test_every_draw_reaches_both_ends() -> None:
    rng = Random(0)
    assert {draw_between(rng, 2, 4) for _ in range(100)} == {2, 3, 4}
    assert {draw_from(rng, "ab") for _ in range(100)} == {"a", "b"}
    left = [1, 2, 3]
    assert {draw_and_remove(rng, left) for _ in range(3)} == {1, 2, 3}
    assert left == []


def test_weights_are_shares() -> None:
    rng = Random(0)
    texts = [draw_weighted(rng, (("often", 90), ("never", 0), ("rare", 10))) for _ in range(2000)]
    # 200 of 2000 with a standard deviation of sqrt(2000 * 0.1 * 0.9) = 13
    assert 160 <= texts.count("rare") <= 240
    assert "never" not in texts
