"""`sample` draws successively without replacement, in proportion to the scores: chi-square tests on fixed seeds."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations

import pytest
import torch
from scipy.stats import chisquare

from tipx.noise import Noise
from tipx.selectors import Selector
from tipx.types import TokenStats

P_VALUE = 0.001


def kept(selector: Selector, scores: Sequence[float], rows: int, seeds: int) -> Counter[tuple[int, ...]]:
    """How often each set of places was kept, over `rows` equal responses and `seeds` seeds."""
    stats = TokenStats(student_entropy=torch.tensor([scores] * rows))
    valid_BT = torch.ones(rows, len(scores), dtype=torch.bool)
    drawn = torch.cat([selector(stats, valid_BT, Noise(seed)) for seed in range(seeds)])
    return Counter(tuple(row.nonzero()[:, 0].tolist()) for row in drawn)


def sampler(make: Callable[..., Selector], ratio: float) -> Selector:
    return make("selector=entropy_sampling", f"ratio={ratio}")


def test_one_of_three_in_proportion_to_the_score(make: Callable[..., Selector]) -> None:
    # floor(0.34 * 3) = 1 is kept, so its probability is score / sum: 1/8, 2/8, 5/8 of 3000 draws.
    counts = kept(sampler(make, 0.34), [1.0, 2.0, 5.0], rows=100, seeds=30)
    assert counts.keys() == {(0,), (1,), (2,)}
    assert chisquare([counts[(i,)] for i in range(3)], [375, 750, 1875]).pvalue > P_VALUE


def test_two_of_three_by_successive_draws(make: Callable[..., Selector]) -> None:
    # P({i, j}) = p_i p_j / (1 - p_i) + p_j p_i / (1 - p_j) with p = 1/8, 2/8, 5/8:
    #   {0, 1}: 2/64 * (8/7 + 8/6) = 0.0774;  {0, 2}: 5/64 * (8/7 + 8/3) = 0.2976;  {1, 2}: 10/64 * (8/6 + 8/3) = 0.625.
    # Inclusion in proportion to the score would need P(2) = 1.25: with k = 2 only successive draws make sense.
    p = [1 / 8, 2 / 8, 5 / 8]
    pairs = list(combinations(range(3), 2))
    expected = [3000 * p[i] * p[j] * (1 / (1 - p[i]) + 1 / (1 - p[j])) for i, j in pairs]
    assert expected == pytest.approx([232.1, 892.9, 1875], abs=0.1)
    counts = kept(sampler(make, 0.67), [1.0, 2.0, 5.0], rows=100, seeds=30)
    assert chisquare([counts[pair] for pair in pairs], expected).pvalue > P_VALUE


def test_the_scale_of_the_score_does_not_matter(make: Callable[..., Selector]) -> None:
    # Dividing entropy by log V, as the paper does, multiplies every score by one constant: the same draws.
    scores = [0.3, 1.7, 0.9, 2.2]
    for factor in (1 / 8, 64.0):
        scaled = [factor * score for score in scores]
        assert kept(sampler(make, 0.5), scaled, rows=20, seeds=5) == kept(sampler(make, 0.5), scores, rows=20, seeds=5)


def test_random_is_uniform(make: Callable[..., Selector]) -> None:
    # Each of the 6 pairs of 4 tokens, 3000 draws: 500 each, whatever the entropy.
    counts = kept(make("selector=random", "ratio=0.5"), [9.0, 0.0, 1.0, 0.0], rows=100, seeds=30)
    assert chisquare([counts[pair] for pair in combinations(range(4), 2)]).pvalue > P_VALUE


@pytest.mark.parametrize("change", ["seed", "step"])
def test_other_seed_or_step_other_draw(change: str, make: Callable[..., Selector]) -> None:
    stats, valid_BT = TokenStats(student_entropy=torch.ones(4, 50)), torch.ones(4, 50, dtype=torch.bool)
    selector = sampler(make, 0.5)
    first = selector(stats, valid_BT, Noise(1, 1))
    assert torch.equal(first, selector(stats, valid_BT, Noise(1, 1)))
    other = Noise(2, 1) if change == "seed" else Noise(1, 2)
    # Two independent halves of 50 agree on 25 tokens of a row in the mean, not on all.
    assert (first == selector(stats, valid_BT, other)).float().mean() < 0.75
    assert not torch.equal(first[0], first[1])
