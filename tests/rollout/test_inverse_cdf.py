"""One uniform draw to one token."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from tipx.noise import Noise
from tipx.rollout.hf import InverseCDF

BELOW_ONE = float(np.nextafter(1.0, 0.0))


def pick(scores_RV: Tensor, draws_R: Tensor) -> list[int]:
    """The tokens that greedy decoding takes after the processor."""
    ids_RL = torch.zeros(len(scores_RV), 3, dtype=torch.long)
    out_RV = InverseCDF(draws_R[:, None], prompt_length=3)(ids_RL, scores_RV)
    assert out_RV.shape == scores_RV.shape
    assert (out_RV > -torch.inf).sum(-1).tolist() == [1] * len(scores_RV)
    return [int(token) for token in out_RV.argmax(-1)]


def test_by_hand() -> None:
    # p = 1/4, 1/4, 0, 1/2: the CDF is 0.25, 0.5, 0.5, 1, and a draw takes the first entry above it.
    scores_V = torch.tensor([0.25, 0.25, 0.0, 0.5]).log()
    draws = [0.0, 0.249, 0.25, 0.499, 0.5, 0.75, BELOW_ONE]
    assert pick(scores_V.expand(7, 4), torch.tensor(draws, dtype=torch.float64)) == [0, 0, 1, 1, 3, 3, 3]


def test_matches_the_distribution() -> None:
    p_V = torch.tensor([0.4, 0.0, 0.05, 0.3, 0.15, 0.1])
    draws = Noise(7).draw_rows(range(6000), 1)[:, 0]
    counts = np.bincount(pick(p_V.log().expand(6000, 6), draws), minlength=6)
    assert counts[1] == 0
    possible = [0, 2, 3, 4, 5]
    expected = 6000 * p_V[possible].double().numpy() / p_V[possible].double().sum().item()
    assert chisquare(counts[possible], expected).pvalue > 0.001


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocab", [3, 50, 5000])
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


def test_the_place_in_the_response_chooses_the_draw() -> None:
    # Three prompt tokens. At the first token the row's first draw counts, two tokens later the third.
    draws_RT = torch.tensor([[0.1, 0.9, 0.1], [0.9, 0.1, 0.9]], dtype=torch.float64)
    sampler, scores_RV = InverseCDF(draws_RT, prompt_length=3), torch.zeros(2, 2)
    for length, expected in ((3, [0, 1]), (4, [1, 0]), (5, [0, 1])):
        assert sampler(torch.zeros(2, length, dtype=torch.long), scores_RV).argmax(-1).tolist() == expected
