"""Rules replayed on a step, and how they overlap."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.inspect.worlds import make_run
from tipx.errors import ConfigError
from tipx.inspect.quadrants import Thresholds, quantile, table
from tipx.inspect.rules import Rule, compare_rules, only, overlap, own_rule, ranks
from tipx.runs.reader import SampledStep, StoredRun
from tipx.selectors import normalise
from tipx.selectors.quadrant import Quadrants
from tipx.types import TokenStats


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> SampledStep:
    """Tokens 3 to 5 of each response are a tool's."""
    return StoredRun(make_run(tmp_path_factory.mktemp("rules"), tools=True, shown=2)).sampled()


def rule(name: str, *weights: float) -> Rule:
    return Rule(name, np.array(weights, np.float32), np.zeros(len(weights), np.uint32))


def test_the_runs_own_rule_has_the_weights_that_trained(step: SampledStep) -> None:
    own = own_rule(step)
    assert own.name == "Q3 + TopK 0.2"
    assert own.weights_N is step.snapshot.weights_N
    (again,) = compare_rules(step, ["ratio=0.2"], None)[1:]
    assert again.weights_N.tobytes() == own.weights_N.tobytes()
    # Top-k: what is kept of a response are its first ranks.
    for b in range(4):
        part = step.snapshot.slice(b)
        kept = own.ranks_N[part][own.kept_N[part]]
        assert sorted(kept) == list(range(1, len(kept) + 1))


def test_ranks_by_hand(step: SampledStep) -> None:
    scores = np.zeros(len(step.snapshot.tokens_N))
    # Response 3 has 7 tokens, of which 3 to 5 have no rank, whatever their score.
    scores[step.snapshot.slice(2)] = [1, 5, 9, 9, 9, 5, 0]
    assert ranks(step.snapshot, scores)[step.snapshot.slice(2)].tolist() == [3, 1, 0, 0, 0, 2, 4]


def test_words_mean_what_they_mean_for_training(step: SampledStep) -> None:
    found = compare_rules(step, ["selector=soft_or,q3_only", "ratio=0.1,0.5"], None)
    assert [one.name for one in found] == [
        "soft_or ratio=0.1",
        "soft_or ratio=0.5",
        "q3_only ratio=0.1",
        "q3_only ratio=0.5",
    ]
    # Valid are 9, 27, 4 and 22 tokens: floor, at least 1.
    assert [int(one.kept_N.sum()) for one in found] == [1 + 2 + 1 + 2, 4 + 13 + 2 + 11] * 2
    assert not any((one.weights_N[~step.snapshot.valid_N] > 0).any() for one in found)
    mixed = compare_rules(step, ["selector=soft_or", "selector/score=q3", "selector/pick=topk,sample"], None)
    assert [one.name for one in mixed] == ["selector/pick=topk", "selector/pick=sample"]
    assert mixed[0].weights_N.tobytes() == own_rule(step).weights_N.tobytes()  # ratio is the run's


def test_one_rule_is_compared_with_the_runs_own(step: SampledStep) -> None:
    assert [one.name for one in compare_rules(step, ["selector=random"], None)] == ["Q3 + TopK 0.2", "random"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("optim.lr=1", "optim.lr=1: not part of a selection rule; expected selector="),
        ("selector=nothing", "nothing"),
        ("ratio=2", "ratio"),
        ("selector=", "selector"),
    ],
)
def test_a_word_that_is_no_rule_is_one_line(word: str, said: str, step: SampledStep) -> None:
    with pytest.raises(ConfigError, match=said):
        compare_rules(step, [word], None)


def test_overlap_and_what_one_alone_keeps_by_hand(step: SampledStep) -> None:
    n = len(step.snapshot.tokens_N)
    a, b = (rule(name, *parts, *[0] * (n - 4)) for name, parts in {"a": [1, 1, 0, 0], "b": [0, 1, 0.5, 1]}.items())
    none = rule("none", *[0] * n)
    assert overlap([a, b, none]) == [[1, 0.25, 0], [0.25, 1, 0], [0, 0, 1]]
    alone = only([a, b, none], step.snapshot)
    assert [(one["count"], one["kept"]) for one in alone] == [(1, 2), (2, 3), (0, 0)]
    assert alone[0]["tokens"] == [[" the", 1]]
    assert alone[1]["tokens"] == [[" 4", 1], ["2", 1]]


@pytest.mark.parametrize(("h", "d"), [(0.5, 0.5), (0.98, 0.3), (0, 1), (1 / 3, 0.123)])
def test_quadrants_are_those_of_the_selectors(h: float, d: float, step: SampledStep) -> None:
    one = step.snapshot
    stats = TokenStats(**{name: torch.from_numpy(one.grid(values_N)) for name, values_N in one.stats.items()})
    theirs_BT = Quadrants(entropy_quantile=h, divergence_quantile=d)(stats, torch.from_numpy(one.grid(one.valid_N)))
    ours_N = Thresholds.of(one, h, d).quadrants(one)
    assert one.grid(ours_N).tolist() == theirs_BT.tolist()
    values = torch.from_numpy(one.stats["reverse_kl"])
    assert quantile(np.sort(one.stats["reverse_kl"]), h) == normalise.quantile(values, h).numpy()


def test_the_table_of_thresholds(step: SampledStep) -> None:
    values = table(step.snapshot, "entropy")
    assert len(values) == 1001
    assert values[500] == Thresholds.of(step.snapshot, 0.5, 0.5).values["entropy"]
    valid = step.snapshot.stats["student_entropy"][step.snapshot.valid_N]
    assert (values[0], values[-1]) == (valid.min(), valid.max())


def test_the_own_folder_of_yaml(tmp_path: Path, step: SampledStep) -> None:
    folder = tmp_path / "conf" / "selector"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "# Mine\ndefaults:\n  - score: entropy\n  - pick: topk\n  - _self_\n\n_target_: tipx.selectors.Selector\n"
    )
    mine, top = compare_rules(step, ["selector=mine,entropy_top"], tmp_path / "conf")
    assert mine.weights_N.tobytes() == top.weights_N.tobytes()
