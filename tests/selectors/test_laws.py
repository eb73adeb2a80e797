"""The laws that every score x pick obeys, for whatever lies in `conf/selector/score` and `conf/selector/pick`."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tipx.config import conf_dir
from tipx.noise import Noise
from tipx.selectors import Pick, Selector
from tipx.selectors.budget import Budget
from tipx.selectors.everything import Everything
from tipx.selectors.positive import Positive
from tipx.types import STATISTICS, TokenStats


def names(group: str) -> list[str]:
    return sorted(p.stem for p in Path(conf_dir(), "selector", group).glob("*.yaml") if not p.stem.startswith("_"))


GARBAGE = np.array([np.nan, np.inf, -np.inf, -1e4, 1e30, 3.0], dtype=np.float32)
# What a statistic may look like: generic; few values, hence ties; one value; nothing.
SHAPES: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "generic": lambda rng, size: rng.exponential(2.0, size),
    "ties": lambda rng, size: rng.integers(0, 3, size).astype(float),
    "equal": lambda rng, size: np.full(size, rng.exponential()),
    "zero": lambda _, size: np.zeros(size),
}


@dataclass(frozen=True)
class Case:
    """One step: all eight statistics, which tokens count, the settings of the pick, and where garbage goes later."""

    stats: TokenStats
    valid_BT: Tensor
    noise: Noise
    rng: np.random.Generator
    budget: dict[str, object]
    layout: str


@st.composite
def cases(draw: st.DrawFn) -> Case:
    lengths = draw(st.lists(st.sampled_from([0, 1, 1, 2, 3, 5, 8, 13]), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    valid_BT = torch.arange(max(lengths) + 1) < torch.tensor(lengths)[:, None]
    stats = {}
    for name in sorted(STATISTICS):
        values = SHAPES[draw(st.sampled_from(sorted(SHAPES)))](rng, tuple(valid_BT.shape))
        sign = -1.0 if name.endswith("logprob") else 1.0
        stats[name] = torch.from_numpy(sign * values).float() * valid_BT
    budget = {
        "ratio": draw(st.sampled_from([0.01, 0.1, 0.29, 0.5, 0.77, 1.0])),
        "scope": draw(st.sampled_from(["response", "step"])),
        "rounding": draw(st.sampled_from(["floor", "round", "ceil"])),
        "min_keep": draw(st.integers(0, 3)),
    }
    noise = Noise(draw(st.integers(0, 9)), draw(st.integers(1, 3)), "select")
    layout = draw(st.sampled_from(["right", "left", "between"]))
    return Case(TokenStats(**stats), valid_BT, noise, rng, budget, layout)


def with_settings(selector: Selector, budget: dict[str, object]) -> Selector:
    """The pick with those of the settings that it knows."""
    known = {f.name for f in fields(selector.pick)}
    return replace(selector, pick=replace(selector.pick, **{k: v for k, v in budget.items() if k in known}))


def expected_counts(pick: Pick, score_BT: Tensor, valid_BT: Tensor) -> list[int]:
    """Kept tokens of each response, or of the whole step where that is the law."""
    lengths = valid_BT.sum(-1).tolist()
    match pick:
        case Everything():
            return lengths
        case Positive():
            return [max(int((score_BT[valid_BT] > 0).sum()), min(pick.min_keep, sum(lengths)))]
        case Budget(scope="step"):
            return [pick.count_kept(sum(lengths))]
        case Budget():
            return [pick.count_kept(m) for m in lengths]
    raise AssertionError(f"state the law of the count of {type(pick).__name__} here")


def relay(case: Case) -> tuple[TokenStats, Tensor]:
    """The same step laid out otherwise: in two parts of different widths, with columns of garbage beside the tokens.

    `case.layout` says where the garbage stands. Parts are joined as ranks' rows are: padded on the right with 0.
    """
    cut = int(case.rng.integers(0, len(case.valid_BT) + 1))
    widths = [case.valid_BT.shape[1] + int(n) for n in case.rng.integers(1, 6, 2)]
    shape = (len(case.valid_BT), max(widths))
    valid_BT, inside_BT = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    for b, n in enumerate(case.valid_BT.sum(-1).tolist()):
        width = widths[b >= cut]
        places = {"right": range(n), "left": range(width - n, width), "between": case.rng.permutation(width)[:n]}
        valid_BT[b, list(places[case.layout])] = True
        inside_BT[b, :width] = True
    stats = {}
    for name, values_BT in case.stats.computed().items():
        stats[name] = torch.from_numpy(case.rng.choice(GARBAGE, shape)).masked_fill(~inside_BT, 0.0)
        stats[name][valid_BT] = values_BT[case.valid_BT]
    return TokenStats(**stats), valid_BT


@pytest.mark.parametrize("score", names("score"))
@given(case=cases())
def test_laws(score: str, case: Case, make: Callable[..., Selector]) -> None:
    # One step is held to the laws under every pick: laying it out costs more than selecting from it.
    again, score_of = relay(case), make(f"selector/score={score}").score
    for pick in names("pick"):
        selector = with_settings(Selector(score=score_of, pick=make(f"selector/pick={pick}").pick), case.budget)
        obeys(selector, case, *again)


def obeys(selector: Selector, case: Case, laid: TokenStats, laid_valid_BT: Tensor) -> None:
    weights_BT = selector(case.stats, case.valid_BT, case.noise)

    # Weights are non-negative, finite, and 0 where there is no token; scores too.
    score_BT = selector.score(case.stats, case.valid_BT, case.noise.substream("score"))
    for values_BT in (weights_BT, score_BT):
        assert values_BT.shape == case.valid_BT.shape
        assert values_BT.isfinite().all()
        assert (values_BT >= 0).all()
        assert not values_BT[~case.valid_BT].any()

    # Exactly as many are kept as the pick says; all of our picks are hard.
    assert set(weights_BT.unique().tolist()) <= {0.0, 1.0}
    counts = expected_counts(selector.pick, score_BT, case.valid_BT)
    got_B = weights_BT.sum(-1)
    assert (got_B.tolist() if len(counts) == len(case.valid_BT) > 1 else [got_B.sum()]) == counts

    # The same seed, the same weights.
    assert torch.equal(weights_BT, selector(case.stats, case.valid_BT, case.noise))

    # Neither padding nor the way the rows were split for computing the statistics matters.
    laid_BT = selector(laid, laid_valid_BT, case.noise)
    assert torch.equal(laid_BT[laid_valid_BT], weights_BT[case.valid_BT])
    assert not laid_BT[~laid_valid_BT].any()


def test_every_combination_is_there() -> None:
    # The paper's rules and their controls; a folder that moved would otherwise leave nothing to test.
    assert {"entropy", "soft_or", "q3", "divergence", "uniform", "shuffled"} <= set(names("score"))
    assert {"all", "topk", "bottomk", "sample", "positive"} <= set(names("pick"))
    assert len(STATISTICS) == 8
