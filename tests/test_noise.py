"""Draws are a pure function of seed, step, stream, row and token."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from tipx.noise import Noise

NOISE = Noise(3, 7, "select")


def test_the_same_key_the_same_draws() -> None:
    assert torch.equal(NOISE.draw_rows([0, 5], 10), Noise(3, 7, "select").draw_rows([0, 5], 10))
    assert NOISE.draw_permutation(20) == Noise(3, 7, "select").draw_permutation(20)


@pytest.mark.parametrize(
    "other",
    [
        Noise(4, 7, "select"),
        Noise(3, 8, "select"),
        Noise(3, 7, "rollout"),
        Noise(7, 3, "select"),
        NOISE.substream("pick"),
    ],
)
def test_another_key_other_draws(other: Noise) -> None:
    assert not torch.isclose(NOISE.draw_rows([0, 1], 20), other.draw_rows([0, 1], 20)).any()
    assert NOISE.draw_permutation(20) != other.draw_permutation(20)


def test_streams_branch() -> None:
    streams = (
        NOISE,
        NOISE.substream("a"),
        NOISE.substream("b"),
        NOISE.substream("a").substream("b"),
        NOISE.substream("ab"),
    )
    assert len({noise.draw_rows([0], 1).item() for noise in streams}) == 5
    assert NOISE.substream("a").substream("b") == NOISE.substream("a").substream("b")


def test_a_row_does_not_depend_on_the_others_or_on_the_length() -> None:
    all_RL = NOISE.draw_rows(range(6), 9)
    assert all_RL.dtype == torch.float64
    assert torch.equal(NOISE.draw_rows([4, 1], 9), all_RL[[4, 1]])
    assert torch.equal(NOISE.draw_rows(range(6), 3), all_RL[:, :3])
    assert NOISE.draw_rows([], 4).shape == (0, 4)


def test_rows_are_uniform_and_differ() -> None:
    draws_RL = NOISE.draw_rows(range(100), 100)
    assert 0 <= draws_RL.min() <= draws_RL.max() < 1
    assert kstest(draws_RL.flatten().numpy(), "uniform").pvalue > 0.001
    assert len(draws_RL.unique()) == 100 * 100
    # Neighbours in both directions are uncorrelated: standard deviation of the estimate is 0.01.
    for a, b in ((draws_RL[1:], draws_RL[:-1]), (draws_RL[:, 1:], draws_RL[:, :-1])):
        assert abs(np.corrcoef(a.flatten(), b.flatten())[0, 1]) < 0.04


def test_a_token_keeps_its_draw_wherever_padding_puts_it() -> None:
    # Valid token number i of row b has draw i of row b.
    valid_BT = torch.tensor([[True, True, True, False], [False, True, False, True], [False] * 4])
    draws_RL = NOISE.draw_rows(range(3), 4)
    expected_BT = torch.zeros(3, 4, dtype=torch.float64)
    expected_BT[0, :3] = draws_RL[0, :3]
    expected_BT[1, 1], expected_BT[1, 3] = draws_RL[1, 0], draws_RL[1, 1]
    assert torch.equal(NOISE.draw_tokens(valid_BT), expected_BT)


def test_permutation_holds_each_once() -> None:
    assert sorted(NOISE.draw_permutation(50)) == list(range(50))
    assert NOISE.draw_permutation(0) == []
