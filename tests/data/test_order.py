"""Which prompts a step uses: each once an epoch, in a new order, from nothing but the step and the seed."""

import pytest

from tipx.data import PromptSource, batch_indices
from tipx.embedded.arithmetic.data import ArithmeticPrompts
from tipx.embedded.arithmetic.family import PROBLEMS


def stream(size: int, count: int, steps: int, seed: int = 0) -> list[int]:
    return [i for step in range(1, steps + 1) for i in batch_indices(size, step, count, seed)]


@pytest.mark.parametrize(("size", "count"), [(12, 4), (12, 5), (7, 3), (3, 8), (1, 2), (64, 64)])
def test_every_prompt_once_an_epoch(size: int, count: int) -> None:
    # Batches run over the end of an epoch where count does not divide size, and over several if it is larger.
    used = stream(size, count, steps=5 * size)
    for start in range(0, len(used) - size + 1, size):
        assert sorted(used[start : start + size]) == list(range(size))


def test_epochs_differ() -> None:
    used = stream(50, 10, steps=15)
    epochs = {tuple(used[i : i + 50]) for i in (0, 50, 100)}
    assert len(epochs) == 3
    assert tuple(range(50)) not in epochs


def test_a_pure_function_of_step_and_seed() -> None:
    # As when resumed: later steps first, other seeds and sizes in between.
    forward = [batch_indices(20, step, 6, 3) for step in range(1, 30)]
    backward = []
    for step in range(29, 0, -1):
        batch_indices(31, step, 6, 3)
        batch_indices(20, step, 6, 4)
        backward.append(batch_indices(20, step, 6, 3))
    assert backward[::-1] == forward


def test_seeds_differ() -> None:
    assert stream(50, 10, 5, seed=0) != stream(50, 10, 5, seed=1)


def test_step_one_is_the_first() -> None:
    # Two steps of 5 are one step of 10.
    assert batch_indices(10, 1, 5, 0) + batch_indices(10, 2, 5, 0) == batch_indices(10, 1, 10, 0)


def test_the_embedded_task() -> None:
    source = ArithmeticPrompts(size=40, seed=1)
    assert isinstance(source, PromptSource)
    prompts = source.load()
    assert len({p.text for p in prompts}) == len({p.id for p in prompts}) == 40
    assert source.load() == prompts
    assert ArithmeticPrompts(size=40, seed=2).load() != prompts
    assert not {p.text for p in prompts} & {p.question for p in PROBLEMS.held_out(2048)}
    assert all(p.answer is not None and p.answer.isdigit() for p in prompts)
