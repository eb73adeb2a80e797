"""Fine-tuning: its schedule, its padding, and the caller's random state."""

import pytest
import torch

from tipx.embedded.tuning import IGNORE, Recipe, pad_rows, reproducible


def test_schedule() -> None:
    recipe = Recipe(hidden=16, layers=1, batch=1, steps=100, lr=1.0, warmup=0.1, decay=0.4)
    # 10 steps up, 50 at the top, 40 down: step 79 has 21 of 40 parts left, the last step 1 of 40.
    assert [recipe.lr_at(step) for step in (0, 9, 59, 79, 99)] == pytest.approx([0.1, 1.0, 1.0, 21 / 40, 1 / 40])


def test_padding_is_in_no_loss() -> None:
    ids_BT, labels_BT = pad_rows([([5, 6, 7], [IGNORE, 6, 7]), ([8], [8])], pad=0)
    assert ids_BT.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert labels_BT.tolist() == [[IGNORE, 6, 7], [8, IGNORE, IGNORE]]


def test_the_caller_keeps_threads_and_random_state() -> None:
    torch.manual_seed(3)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    with reproducible(0):
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
