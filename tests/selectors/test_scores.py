"""Every score's values, not only their order; and every selector at the ends of what its fields may be.

The step is that of `test_presets`: h is divided by 7.72, where v4 clips it, d by 4.

    token   A0    A1      A2    A3      A4      B0      B1      B2
    h       0     2       8     4       0       6       1       0
    h^      0     0.2591  1     0.5181  0       0.7772  0.1295  0
    d       4     1       0     2       3       0       2       1
    d^      1     0.25    0     0.5     0.75    0       0.5     0.25
    f       1     8       9     2       2       4       4       5
"""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from itertools import product
from math import ceil, floor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tipx.config import conf_dir
from tipx.noise import Noise
from tipx.selectors import Score, Selector
from tipx.selectors.divergence import Divergence
from tipx.selectors.normalise import Normalise
from tipx.selectors.q3 import Q3
from tipx.selectors.quadrant import InQuadrant, Quadrants
from tipx.selectors.shuffled import Shuffled
from tipx.selectors.soft_or import SoftOr
from tipx.types import TokenStats

H = [[0, 2, 8, 4, 0], [6, 1, 0]]
D = [[4, 1, 0, 2, 3], [0, 2, 1]]
F = [[1, 8, 9, 2, 2], [4, 4, 5]]
J = [[0.5, 0, 0.25, 0.125, 0], [0.375, 0.625, 0]]
STEP = {"student_entropy": H, "reverse_kl": D, "forward_kl": F, "jsd": J}
C = 7.72

VALUES: dict[str, list[list[float]]] = {
    "entropy": H,
    "divergence": D,
    "uniform": [[1, 1, 1, 1, 1], [1, 1, 1]],
    "position": [[1, 0.8, 0.6, 0.4, 0.2], [1, 2 / 3, 1 / 3]],
    "q3": [[1, 8 * (1 - 2 / C), 0, 2 * (1 - 4 / C), 2], [4 * (1 - 6 / C), 4 * (1 - 1 / C), 5]],
    "q3_reverse": [[4, 1 - 2 / C, 0, 2 * (1 - 4 / C), 3], [0, 2 * (1 - 1 / C), 1]],
    "soft_or": [
        [1, 2 / C + 0.25 - 0.5 / C, 1, 4 / C + 0.5 - 2 / C, 0.75],
        [6 / C, 1 / C + 0.5 - 0.5 / C, 0.25],
    ],
    # Medians 1.5 and 1.5.
    "q1": [[0, 0, 0, 1, 0], [0, 0, 0]],
    "q2": [[0, 1, 1, 0, 0], [1, 0, 0]],
    "q3_mask": [[1, 0, 0, 0, 1], [0, 1, 0]],
    "q4": [[0, 0, 0, 0, 0], [0, 0, 1]],
}


def norm(entropy_clip: float, divergence_clip: float, scope: Any = "step") -> Normalise:
    return Normalise(entropy_clip=entropy_clip, divergence_clip=divergence_clip, scope=scope)


def q3(scale: Normalise, divergence: Any = "forward_kl") -> Q3:
    return Q3(divergence=divergence, norm=scale)


def soft_or(entropy_clip: float, divergence_clip: float) -> SoftOr:
    return SoftOr(divergence="reverse_kl", norm=norm(entropy_clip, divergence_clip))


def quadrant(number: int, entropy_quantile: float, divergence_quantile: float) -> InQuadrant:
    axes = Quadrants(entropy_quantile=entropy_quantile, divergence_quantile=divergence_quantile)
    return InQuadrant(quadrant=number, quadrants=axes)


SETTINGS: list[tuple[Score, list[list[float]]]] = [
    # v1 does not clip: h^ = h / 8.
    (q3(norm(1, 1)), [[1, 6, 0, 1, 2], [1, 3.5, 5]]),
    (soft_or(1, 1), [[1, 0.4375, 1, 0.75, 0.75], [0.75, 0.5625, 0.25]]),
    # Each response by itself: B's h^ is h / 6; v4 clips at 4 + 0.92 * 4 of 0 0 2 4 8 and at 5.8 of 0 1 6.
    (q3(norm(1, 1, "rollout")), [[1, 6, 0, 1, 2], [0, 4 * 5 / 6, 5]]),
    (q3(norm(0.98, 1, "rollout")), [[1, 8 * (1 - 2 / 7.68), 0, 2 * (1 - 4 / 7.68), 2], [0, 4 * (1 - 1 / 5.8), 5]]),
    (q3(norm(1, 1), "jsd"), [[0.5, 0, 0, 0.0625, 0], [0.375 / 4, 0.625 * 7 / 8, 0]]),
    (Divergence(divergence="jsd"), J),
    (Divergence(divergence="forward_kl"), F),
    # A clip at the median of h, 1.5, and then at that of d, 1.5: above it all is 1.
    (soft_or(0.5, 0), [[0, 1, 1, 1, 0], [1, 2 / 3, 0]]),
    (soft_or(0, 0.5), [[1, 2 / 3, 0, 1, 1], [0, 1, 2 / 3]]),
    # Clipped at the lowest value nothing is high.
    (soft_or(0, 0), [[0, 0, 0, 0, 0], [0, 0, 0]]),
    (q3(norm(0, 1)), F),
    # Above the lowest value of an axis, and above the highest.
    (quadrant(1, 0, 0), [[0, 1, 0, 1, 0], [0, 1, 0]]),
    (quadrant(4, 0, 0), [[0, 0, 0, 0, 0], [0, 0, 0]]),
    (quadrant(4, 1, 1), [[1, 1, 1, 1, 1], [1, 1, 1]]),
    (quadrant(3, 1, 0), [[1, 1, 0, 1, 1], [0, 1, 1]]),
    (quadrant(2, 0, 1), [[0, 1, 1, 1, 0], [1, 1, 0]]),
]

Make = Callable[..., Selector]
Step = Callable[..., tuple[TokenStats, Tensor]]


def names(group: str) -> list[str]:
    return sorted(p.stem for p in Path(conf_dir(), "selector", group).glob("*.yaml") if not p.stem.startswith("_"))


def scores_of(score: Score, step: Step) -> list[list[float]]:
    """The scores of valid tokens, row by row."""
    stats, valid_BT = step(**STEP)
    score_BT = score(stats, valid_BT, Noise(3))
    return [row[valid].tolist() for row, valid in zip(score_BT, valid_BT, strict=True)]


def test_every_score_has_its_values_here() -> None:
    assert set(names("score")) == VALUES.keys() | {"shuffled"}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str, make: Make, step: Step) -> None:
    found = scores_of(make(f"selector/score={name}").score, step)
    for row, expected in zip(found, VALUES[name], strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("score", "expected"), SETTINGS)
def test_values_by_settings(score: Score, expected: list[list[float]], step: Step) -> None:
    for row, values in zip(scores_of(score, step), expected, strict=True):
        assert row == pytest.approx(values, rel=1e-5, abs=1e-6)


def test_shuffled_values(step: Step) -> None:
    # In the i-th place of a response stands the value of the token with the i-th lowest draw.
    draws = Noise(3).draw_rows([0, 1], 5).tolist()
    orders = [sorted(range(len(row)), key=lambda i, b=b: draws[b][i]) for b, row in enumerate(D)]  # type: ignore[misc]
    found = scores_of(Shuffled(of=Divergence(divergence="reverse_kl")), step)
    assert found == [[row[i] for i in order] for row, order in zip(D, orders, strict=True)]
    assert found != [[float(x) for x in row] for row in D]


def test_scores_are_not_negative_where_rounding_makes_statistics_so(make: Make, step: Step) -> None:
    tiny = {name: [[-1e-8, 1.0], [0.5]] for name in STEP}
    for name in ("entropy", "divergence", "q3", "q3_reverse"):
        stats, valid_BT = step(**tiny)
        assert make(f"selector/score={name}").score(stats, valid_BT, Noise(0))[0, 0] == 0


def test_large_values_are_not_capped(make: Make, step: Step) -> None:
    # log of a vocabulary of 150,000 is 11.9 nats; a divergence may be thousands.
    stats, valid_BT = step(student_entropy=[[11.9, 3.0]], reverse_kl=[[2e4, 5.0]])
    assert make("selector/score=entropy").score(stats, valid_BT, Noise(0))[0, :2].tolist() == pytest.approx([11.9, 3])
    assert make("selector/score=divergence").score(stats, valid_BT, Noise(0))[0, :2].tolist() == [2e4, 5]


# --- the ends of every field --------------------------------------------------------------------------------------

ENDS: dict[str, tuple[Any, ...]] = {
    "ratio": (1e-6, 1.0),
    "min_keep": (0, 10**7),
    "scope": ("response", "step", "rollout"),
    "rounding": ("floor", "round", "ceil"),
    "divergence": ("reverse_kl", "forward_kl", "jsd"),
    "entropy_clip": (0.0, 1.0),
    "divergence_clip": (0.0, 1.0),
    "entropy_quantile": (0.0, 1.0),
    "divergence_quantile": (0.0, 1.0),
    "quadrant": (1, 4),
}


def at_ends(spec: Any) -> Iterator[Any]:
    """The spec with each of its fields, and of the specs in it, at each end; `scope` takes what its class knows."""
    for one in fields(spec):
        value = getattr(spec, one.name)
        if is_dataclass(value):
            yield from (replace(spec, **{one.name: inner}) for inner in at_ends(value))
            continue
        for end in ENDS[one.name]:
            if one.name != "scope" or (end == "step" or (end == "response") == hasattr(spec, "ratio")):
                yield replace(spec, **{one.name: end})


@pytest.mark.parametrize("score", names("score"))
def test_scores_at_the_ends(score: str, make: Make, step: Step) -> None:
    stats, valid_BT = step(**STEP)
    for one in at_ends(make(f"selector/score={score}").score):
        score_BT = one(stats, valid_BT, Noise(0))
        assert score_BT.isfinite().all(), one
        assert (score_BT >= 0).all(), one
        assert not score_BT[~valid_BT].any(), one


def kept_of(pick: Any, lengths: list[int]) -> list[int] | int | None:
    """How many of each response are kept, or of the step; None where the scores say it."""
    if not hasattr(pick, "ratio"):
        return None if hasattr(pick, "min_keep") else lengths
    rounded = {"floor": floor, "ceil": ceil, "round": lambda x: floor(x + 0.5)}[pick.rounding]
    counts = [min(m, max(pick.min_keep, rounded(pick.ratio * m))) for m in lengths]
    m = sum(lengths)
    return counts if pick.scope == "response" else min(m, max(pick.min_keep, rounded(pick.ratio * m)))


@pytest.mark.parametrize(("score", "pick"), [*product(("entropy", "q1"), names("pick"))])
def test_picks_at_the_ends(score: str, pick: str, make: Make, step: Step) -> None:
    stats, valid_BT = step(**STEP)
    score_BT = make(f"selector/score={score}").score(stats, valid_BT, Noise(0))
    one = make(f"selector/pick={pick}", "ratio=0.5").pick
    for end in [one, *at_ends(one)]:
        weights_BT = end(score_BT, valid_BT, Noise(0))
        assert not weights_BT[~valid_BT].any(), end
        expected, got = kept_of(end, [5, 3]), weights_BT.sum(1).tolist()
        if expected is None:  # positive: those above 0, and at least min_keep
            assert sum(got) == min(8, max(int((score_BT[valid_BT] > 0).sum()), end.min_keep)), end
        else:
            assert (got if isinstance(expected, list) else sum(got)) == expected, end


def test_ends_beyond_the_ranges_are_refused(make: Make) -> None:
    beyond = {"ratio": (0.0, 1.01), "min_keep": (-1,), "entropy_clip": (-0.01, 1.01), "divergence_clip": (-0.01, 1.01)}
    beyond |= {"entropy_quantile": (-0.01, 1.01), "divergence_quantile": (-0.01, 1.01), "quadrant": (0, 5)}
    assert beyond.keys() == {name for name, ends in ENDS.items() if not isinstance(ends[0], str)}
    owners = {
        "ratio": make("selector=soft_or").pick,
        "min_keep": make("selector=q1").pick,
        "quadrant": make("selector=q1").score,
        **dict.fromkeys(("entropy_clip", "divergence_clip"), make("selector=soft_or").score.norm),
        **dict.fromkeys(("entropy_quantile", "divergence_quantile"), make("selector=q1").score.quadrants),
    }
    for name, values in beyond.items():
        for value in values:
            with pytest.raises(ValueError, match=name):
                replace(owners[name], **{name: value})


def test_a_ratio_of_one_keeps_what_full_keeps(make: Make, step: Step) -> None:
    stats, valid_BT = step(**STEP)
    score_BT = make("selector/score=entropy").score(stats, valid_BT, Noise(0))
    for name in ("topk", "bottomk", "sample"):
        pick = replace(make(f"selector/pick={name}", "ratio=0.5").pick, ratio=1.0)
        assert torch.equal(pick(score_BT, valid_BT, Noise(0)), valid_BT.float())
