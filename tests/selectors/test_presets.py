"""Every preset of `conf/selector/` on two small responses, against weights found by hand.

The step, unless a test says otherwise: A has 5 tokens, B has 3; h is the student's entropy, d the reverse KL, f the
forward KL. h is divided by 8, d by 4, and the minimum of both is 0, so that min-max is easy:

    token   A0    A1    A2    A3    A4      B0    B1    B2
    h       0     2     8     4     0       6     1     0
    h^(v1)  0     0.25  1     0.5   0       0.75  0.125 0
    d       4     1     0     2     3       0     2     1
    d^      1     0.25  0     0.5   0.75    0     0.5   0.25
    f       1     8     9     2     2       4     4     5

v4 clips h at its 98th percentile: of the 8 sorted values 0 0 0 1 2 4 6 8 the place is 0.98 * 7 = 6.86, so the clip is
6 + 0.86 * 2 = 7.72; only A2 is clipped, the others become h / 7.72, and no order below changes.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tipx.config import conf_dir
from tipx.noise import Noise
from tipx.selectors import Selector
from tipx.types import TokenStats

H = [[0, 2, 8, 4, 0], [6, 1, 0]]
D = [[4, 1, 0, 2, 3], [0, 2, 1]]
F = [[1, 8, 9, 2, 2], [4, 4, 5]]
STEP = {"student_entropy": H, "reverse_kl": D, "forward_kl": F}

# name -> (ratio, weights of A, weights of B). With ratio 0.4: floor(0.4 * 5) = 2 of A, floor(0.4 * 3) = 1 of B.
BY_HAND = {
    "full": (0.4, [1, 1, 1, 1, 1], [1, 1, 1]),
    # h + d - hd (v1): A 1, 0.4375, 1, 0.75, 0.75; B 0.75, 0.5625, 0.25. v4: B0 is 6 / 7.72 = 0.777, still the highest.
    "soft_or": (0.4, [1, 0, 1, 0, 0], [1, 0, 0]),
    # The lowest two of A are A1 and then A3: v4 gives A3 0.5 + 0.518 - 0.259 = 0.759 and A4 0 + 0.75 = 0.75, so A4.
    "bottom_soft_or": (0.4, [0, 1, 0, 0, 1], [0, 0, 1]),
    # f (1 - h^), v4: A 1, 8 * 0.741 = 5.93, 0, 2 * 0.482 = 0.96, 2; B 4 * 0.223 = 0.89, 4 * 0.870 = 3.48, 5.
    "q3_only": (0.4, [0, 1, 0, 0, 1], [0, 0, 1]),
    # d (1 - h^), v4: A 4, 0.741, 0, 0.964, 3; B 0, 2 * 0.870 = 1.74, 1.
    "q3_reverse": (0.4, [1, 0, 0, 0, 1], [0, 1, 0]),
    "div_only": (0.4, [1, 0, 0, 0, 1], [0, 1, 0]),
    "entropy_top": (0.4, [0, 0, 1, 1, 0], [1, 0, 0]),
    "prefix": (0.4, [1, 1, 0, 0, 0], [1, 0, 0]),
    # Medians over the step: h 0 0 0 1 | 2 4 6 8 -> 1.5, so A1 A2 A3 B0 are unsure; d 0 0 1 1 | 2 2 3 4 -> 1.5, so A0 A3
    # A4 B1 are wrong. Q1 = both, Q2 = unsure only, Q3 = wrong only, Q4 = neither.
    "q1": (0.4, [0, 0, 0, 1, 0], [0, 0, 0]),
    "q2": (0.4, [0, 1, 1, 0, 0], [1, 0, 0]),
    "q3": (0.4, [1, 0, 0, 0, 1], [0, 1, 0]),
    "q4": (0.4, [0, 0, 0, 0, 0], [0, 0, 1]),
}
DRAWN = {"entropy_sampling", "random", "shuffled"}


def test_every_preset_is_tested_here() -> None:
    presets = {path.stem for path in Path(conf_dir(), "selector").glob("*.yaml")}
    assert presets == BY_HAND.keys() | DRAWN


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name: str, make: Callable[..., Selector], weights: Callable[..., list[list[int]]]) -> None:
    ratio, a, b = BY_HAND[name]
    assert weights(make(f"selector={name}", f"ratio={ratio}"), **STEP) == [a, b]


@pytest.mark.parametrize("name", BY_HAND)
def test_nothing_is_drawn(name: str, make: Callable[..., Selector], weights: Callable[..., list[list[int]]]) -> None:
    selector = make(f"selector={name}", "ratio=0.4")
    assert weights(selector, seed=1, **STEP) == weights(selector, seed=2, **STEP)


@pytest.mark.parametrize("name", sorted(BY_HAND.keys() | DRAWN))
def test_reads_only_what_it_needs(
    name: str, make: Callable[..., Selector], weights: Callable[..., list[list[int]]]
) -> None:
    # Without `needs` nothing else is computed: a statistic that is missing there would raise KeyError.
    selector = make(f"selector={name}", "ratio=0.4")
    needed = {key: value for key, value in STEP.items() if key in selector.needs}
    shape_only = {"student_logprob": H}
    assert weights(selector, **(needed or shape_only)) == weights(selector, **STEP)


def test_the_paper_ranks_q3_by_forward_and_div_only_by_reverse_kl(make: Callable[..., Selector]) -> None:
    assert make("selector=q3_only").needs == {"student_entropy", "forward_kl"}
    assert make("selector=q3_reverse").needs == {"student_entropy", "reverse_kl"}
    assert make("selector=div_only").needs == {"reverse_kl"}
    assert make("selector=soft_or").needs == {"student_entropy", "reverse_kl"}
    assert make("selector=entropy_sampling").needs == {"student_entropy"}
    assert make("selector=random").needs == make("selector=full").needs == make("selector=prefix").needs == frozenset()


def test_entropy_sampling_never_takes_a_certain_token_while_an_unsure_one_is_left(
    make: Callable[..., Selector], weights: Callable[..., list[list[int]]]
) -> None:
    # Probability is proportional to h: of A's five tokens two have h > 0, and floor(0.4 * 5) = 2 are kept.
    selector = make("selector=entropy_sampling", "ratio=0.4")
    for seed in range(20):
        assert weights(selector, seed, student_entropy=[[0, 2, 0, 0, 0.01]]) == [[0, 1, 0, 0, 1]]
    # Three are wanted and two have h > 0: the first of the others makes up the count.
    selector = make("selector=entropy_sampling", "ratio=0.6")
    assert weights(selector, student_entropy=[[0, 2, 0, 0, 0.01]]) == [[1, 1, 0, 0, 1]]


def test_random_keeps_the_tokens_of_the_highest_draws(
    make: Callable[..., Selector], weights: Callable[..., list[list[int]]]
) -> None:
    # Equal scores: log(score) + Gumbel rises with the uniform draw, so the kept tokens are those of the largest draws.
    selector = make("selector=random", "ratio=0.4")
    for seed in range(5):
        draws = Noise(seed).substream("pick").draw_rows([0, 1], 5)
        first = [int(d in sorted(draws[0])[-2:]) for d in draws[0]]
        second = [int(d == max(draws[1, :3])) for d in draws[1, :3]]
        assert weights(selector, seed, **STEP) == [first, second]


def test_shuffled_gives_the_same_scores_to_other_tokens_of_the_response(
    make: Callable[..., Selector], step: Callable[..., tuple[TokenStats, Tensor]]
) -> None:
    stats, valid_BT = step(**STEP)
    plain, shuffled = make("selector=soft_or").score, make("selector=shuffled").score
    before_BT = plain(stats, valid_BT, Noise(0))
    orders = set()
    for seed in range(12):
        after_BT = shuffled(stats, valid_BT, Noise(seed))
        for b in range(2):
            assert sorted(after_BT[b].tolist()) == sorted(before_BT[b].tolist())
            assert sorted(after_BT[b, valid_BT[b]].tolist()) == sorted(before_BT[b, valid_BT[b]].tolist())
        orders.add(tuple(after_BT[0].tolist()))
    assert len(orders) > 8  # of 5! / 2! = 60 arrangements: two of the scores are 1


def test_shuffled_takes_any_score(make: Callable[..., Selector], weights: Callable[..., list[list[int]]]) -> None:
    selector = make("selector=shuffled", "selector/score@selector.score.of=entropy", "ratio=0.4")
    assert selector.needs == {"student_entropy"}
    kept = torch.tensor([weights(selector, seed, **STEP)[0] for seed in range(200)]).float().mean(0)
    # Every place is kept with probability 2/5; standard deviation of the mean of 200: sqrt(0.24 / 200) = 0.035.
    assert ((kept - 0.4).abs() < 4 * 0.035).all()


def test_score_and_pick_are_separate_choices(
    make: Callable[..., Selector], weights: Callable[..., list[list[int]]]
) -> None:
    # Soft-OR, sampled: the three tokens of score 0 are never drawn before the two others.
    selector = make("selector/score=soft_or", "selector/pick=sample", "ratio=0.4")
    d, h = [[0, 0, 3, 0, 1]], [[0, 0, 0, 0, 1]]
    for seed in range(10):
        assert weights(selector, seed, student_entropy=h, reverse_kl=d) == [[0, 0, 1, 0, 1]]
