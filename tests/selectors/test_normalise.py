"""Normalisation: over every valid token of the step, and over nothing else."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tipx.noise import Noise
from tipx.selectors import Selector
from tipx.selectors.normalise import Normalise, min_max, quantile
from tipx.types import TokenStats

Step = Callable[..., tuple[TokenStats, Tensor]]


def test_v1_is_plain_min_max(make: Callable[..., Selector]) -> None:
    # min 1, max 9: (v - 1) / 8.
    norm = make("selector=soft_or", "norm=v1").score.norm
    values_BT = torch.tensor([[1.0, 3.0, 9.0], [5.0, 2.0, 0.0]])
    valid_BT = torch.tensor([[True, True, True], [True, True, False]])
    expected_BT = torch.tensor([[0.0, 0.25, 1.0], [0.5, 0.125, 0.0]])
    assert torch.equal(norm.entropy(values_BT, valid_BT), expected_BT)
    assert torch.equal(norm.divergence(values_BT, valid_BT), expected_BT)


def test_v4_clips_entropy_at_its_98th_percentile_and_divergence_not_at_all(make: Callable[..., Selector]) -> None:
    # 0..100 are 101 values, so the 98th percentile is the value 98: 98, 99 and 100 become 1, v below becomes v / 98.
    norm = make("selector=soft_or", "norm=v4").score.norm
    values_BT, valid_BT = torch.arange(101.0)[None], torch.ones(1, 101, dtype=torch.bool)
    h_T = norm.entropy(values_BT, valid_BT)[0]
    assert h_T[-3:].tolist() == [1, 1, 1]
    torch.testing.assert_close(h_T[:99], torch.arange(99.0) / 98)
    torch.testing.assert_close(norm.divergence(values_BT, valid_BT)[0], torch.arange(101.0) / 100)


def test_the_clip_changes_what_is_kept(make: Callable[..., Selector], weights: Callable[..., list[list[int]]]) -> None:
    # Sorted h 0 0 0 1 2 4 6 8. Under v1 the third and fourth token of the first response tie: 0.5 + 0.5 - 0.25 = 0.75 =
    # 0 + 0.75, and the tie goes to the earlier; under v4 h^ of the third is 4 / 7.72 and its score 0.759 is the higher.
    step = {"student_entropy": [[2, 8, 4, 0], [6, 1, 0, 0]], "reverse_kl": [[1, 0, 2, 3], [0, 2, 1, 4]]}
    for norm, first in (("v1", [1, 0, 1, 0]), ("v4", [1, 0, 0, 1])):
        assert weights(make("selector=bottom_soft_or", f"norm={norm}", "ratio=0.5"), **step)[0] == first


def test_the_scale_is_the_steps_and_not_a_responses(make: Callable[..., Selector], step: Step) -> None:
    # min 0 and max 10 are in different responses; per response the first would be 0, 1 and the second 0, 1 too.
    score = make("selector=soft_or", "norm=v1").score
    stats, valid_BT = step(student_entropy=[[0, 5], [7.5, 10]], reverse_kl=[[0, 0], [0, 0]])
    assert score(stats, valid_BT, Noise(0))[:, :2].tolist() == [[0, 0.5], [0.75, 1]]


@pytest.mark.parametrize("norm", ["v1", "v4"])
@pytest.mark.parametrize("outlier", [1e4, -1e4, float("nan")])
def test_prompt_and_padding_are_not_in_the_statistics(norm: str, outlier: float, make: Callable[..., Selector]) -> None:
    # If they were, both axes of the response would shrink to one point and soft_or would order by entropy, or nothing.
    selector = make("selector=soft_or", f"norm={norm}", "ratio=0.5")
    h, d = [0.0, 2.0, 1.0, 0.0], [0.0, 0.0, 1.0, 3.0]
    off = [outlier, outlier]
    bare = TokenStats(student_entropy=torch.tensor([h]), reverse_kl=torch.tensor([d]))
    padded = {"student_entropy": [[*off, *h, *off], off * 4], "reverse_kl": [[*off, *d, *off], off * 4]}
    worn = TokenStats(**{name: torch.tensor(rows) for name, rows in padded.items()})
    valid_BT = torch.tensor([[False] * 2 + [True] * 4 + [False] * 2, [False] * 8])
    # h^ 0 1 0.5 0 (v4: clip 1.94), d^ 0 0 1/3 1: scores 0, 1, about 0.67, 1.
    expected = [0, 1, 0, 1]
    assert selector(bare, torch.ones(1, 4, dtype=torch.bool), Noise(0))[0].tolist() == expected
    weights_BT = selector(worn, valid_BT, Noise(0))
    assert weights_BT.tolist() == [[0, 0, *expected, 0, 0], [0] * 8]


def test_all_equal_is_zero_and_nothing_is_nothing() -> None:
    norm = Normalise(entropy_clip=0.98, divergence_clip=1.0, scope="step")
    two_BT = torch.full((2, 3), 2.0)
    assert not norm.entropy(two_BT, torch.ones(2, 3, dtype=torch.bool)).any()
    assert not norm.divergence(two_BT, torch.zeros(2, 3, dtype=torch.bool)).any()
    # One token: minimum and maximum are the same.
    one_BT = torch.tensor([[False, True, False], [False] * 3])
    assert not min_max(torch.arange(6.0).reshape(2, 3), one_BT, 1.0).any()


def test_clipped_tokens_tie_exactly(make: Callable[..., Selector], step: Step) -> None:
    # h + d - hd is 1 wherever h^ = 1 or d^ = 1, and never above it, also in floating point.
    d = torch.rand(1000, generator=torch.manual_seed(0)).tolist()
    stats, valid_BT = step(student_entropy=[torch.linspace(0, 3, 1000).tolist()], reverse_kl=[d])
    score_BT = make("selector=soft_or").score(stats, valid_BT, Noise(0))
    assert score_BT[0, 980:1000].tolist() == [1.0] * 20
    assert score_BT.max() == 1
    assert score_BT.min() >= 0


@pytest.mark.parametrize("n", [1, 2, 3, 50, 51, 997])
@pytest.mark.parametrize("q", [0.0, 0.1, 0.5, 0.98, 1.0])
def test_quantile_is_numpys(n: int, q: float) -> None:
    values_N = torch.randn(n, generator=torch.manual_seed(n), dtype=torch.float64)
    np.testing.assert_allclose(float(quantile(values_N, q)), np.quantile(values_N.numpy(), q), rtol=1e-12, atol=1e-12)


def test_each_rollout_by_itself() -> None:
    norm = Normalise(entropy_clip=1.0, divergence_clip=1.0, scope="rollout")
    values_BT = torch.tensor([[1.0, 2.0, 3.0], [10.0, 30.0, 99.0], [5.0, 5.0, 5.0]])
    valid_BT = torch.tensor([[True, True, True], [True, True, False], [True, True, True]])
    # Over the step it would be (v - 1) / 29.
    assert norm.entropy(values_BT, valid_BT).tolist() == [[0, 0.5, 1], [0, 1, 0], [0, 0, 0]]
    assert norm.divergence(values_BT[:0], valid_BT[:0]).shape == (0, 3)
