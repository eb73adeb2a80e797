"""One uniform draw to one token."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from tipx.noise import Noise
from tipx.rollout.inverse_cdf import BLOCK, pick_tokens

BELOW_ONE = float(np.nextafter(1.0, 0.0))


def pick(scores_RV: Tensor, draws_R: Tensor) -> list[int]:
    tokens: list[int] = pick_tokens(scores_RV, draws_R).tolist()
    return tokens


def test_by_hand() -> None:
    # p = 1/4, 1/4, 0, 1/2: the CDF is 0.25, 0.5, 0.5, 1, and a draw takes the first entry above it.
    scores_V = torch.tensor([0.25, 0.25, 0.0, 0.5]).log()
    draws = [0.0, 0.249, 0.25, 0.499, 0.5, 0.75, BELOW_ONE]
    assert pick(scores_V.expand(7, 4), torch.tensor(draws, dtype=torch.float64)) == [0, 0, 1, 1, 3, 3, 3]


def test_by_hand_over_blocks() -> None:
    # The same shares, each at the end of a block or at its beginning, and the last in one that is not full.
    places = torch.tensor([BLOCK - 1, BLOCK, 2 * BLOCK, 4 * BLOCK + 3])
    scores_V = torch.full((4 * BLOCK + 5,), -torch.inf)
    scores_V[places] = torch.tensor([0.25, 0.25, 0.0, 0.5]).log()
    draws = torch.tensor([0.0, 0.249, 0.25, 0.499, 0.5, 0.75, BELOW_ONE], dtype=torch.float64)
    assert pick(scores_V.expand(7, -1), draws) == places[[0, 0, 1, 1, 3, 3, 3]].tolist()


@pytest.mark.parametrize("vocab", [6, 5 * BLOCK + 1])
def test_matches_the_distribution(vocab: int) -> None:
    p_V, places = torch.zeros(vocab), torch.linspace(0, vocab - 1, 6).long()
    p_V[places] = torch.tensor([0.4, 0.0, 0.05, 0.3, 0.15, 0.1])
    draws = Noise(7).draw_rows(range(6000), 1)[:, 0]
    counts = np.bincount(pick(p_V.log().expand(6000, vocab), draws), minlength=vocab)
    possible = p_V.nonzero()[:, 0]
    assert counts.sum() == counts[possible].sum()
    expected = 6000 * p_V[possible].double().numpy() / p_V[possible].double().sum().item()
    assert chisquare(counts[possible], expected).pvalue > 0.001


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocab", [3, 50, BLOCK, BLOCK + 1, 5000])
@pytest.mark.parametrize("draw", [0.0, 1e-300, 0.5, BELOW_ONE])
def test_no_draw_takes_a_token_of_probability_zero(draw: float, vocab: int, dtype: torch.dtype) -> None:
    # Masks at both ends, where a draw of 0 or of nearly 1 would fall, and at random; some differ by 1e4 in the logits.
    g = torch.manual_seed(vocab)
    scores_RV = (8 * torch.randn(200, vocab, generator=g)).to(dtype)
    scores_RV[torch.rand(200, vocab, generator=g) < 0.4] = -torch.inf
    scores_RV[:, 1] = 3.0
    scores_RV[:100, 0] = scores_RV[:100, -1] = -torch.inf
    scores_RV[100:, 0] = scores_RV[100:, -1] = -1e4
    tokens = torch.tensor(pick(scores_RV, torch.full((200,), draw, dtype=torch.float64)))
    assert (scores_RV.float().softmax(-1)[torch.arange(200), tokens] > 0).all()


@pytest.mark.parametrize("vocab", [BLOCK, 3 * BLOCK + 7])
def test_what_is_no_number_is_a_token_all_the_same(vocab: int) -> None:
    # Weights that training ruined: the step says so, and is left out.
    assert all(0 <= token < vocab for token in pick(torch.full((3, vocab), torch.nan), torch.rand(3).double()))


@pytest.mark.parametrize("scale", [0.0, 1.0, 4.0])
@pytest.mark.parametrize(("vocab", "rows"), [(67, 20_000), (3000, 10_000), (50_257, 600)])
def test_it_is_the_inverse_of_the_whole_cdf(vocab: int, rows: int, scale: float) -> None:
    # All of them in float64. Other tokens are those whose edge is within fp32 rounding of the draw; there may be a few.
    generator = torch.Generator().manual_seed(vocab)
    draws = torch.rand(rows, dtype=torch.float64, generator=generator)
    differ = 0
    for some_R in draws.split(200):
        scores_RV = scale * torch.randn(len(some_R), vocab, generator=generator)
        cdf_RV = scores_RV.double().softmax(-1).cumsum(-1)
        target_R1 = some_R[:, None] * cdf_RV[:, -1:]
        expected_R = torch.searchsorted(cdf_RV, target_R1, right=True)[:, 0]
        tokens_R = pick_tokens(scores_RV, some_R)
        other_R = tokens_R != expected_R
        differ += int(other_R.sum())
        edge_R1 = cdf_RV.gather(-1, torch.minimum(tokens_R, expected_R)[:, None])
        assert ((edge_R1 - target_R1).abs()[other_R] < 2e-7).all()
    assert differ <= (0 if vocab <= BLOCK else 3)
