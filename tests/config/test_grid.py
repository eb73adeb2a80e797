"""Several values in overrides, against the combinations written out by hand."""

from pathlib import Path

import pytest

from tipx.config import expand_overrides, load
from tipx.errors import ConfigError

ONE = {
    "nothing": [],
    "plain values": ["ratio=0.5", "selector=full"],
    "a list": ["optim.betas=[0.9,0.99]"],
    "quoted commas": ["model.template.instruction='a, b'"],
    "a deletion and an addition": ["~logger", "+a.b=1"],
    "a key given twice": ["ratio=1", "ratio=0.5"],
}
SEVERAL: dict[str, tuple[list[str], list[list[str]]]] = {
    "a comma list": (["ratio=1,0.5"], [["ratio=1"], ["ratio=0.5"]]),
    "the last varies fastest": (
        ["a=1,2", "b=x", "c=3,4"],
        [["a=1", "b=x", "c=3"], ["a=1", "b=x", "c=4"], ["a=2", "b=x", "c=3"], ["a=2", "b=x", "c=4"]],
    ),
    "a range": (["seed=range(0,3)"], [["seed=0"], ["seed=1"], ["seed=2"]]),
    "a range with a step": (["seed=range(4,9,2)"], [["seed=4"], ["seed=6"], ["seed=8"]]),
    "a choice": (["a=choice(1,x)"], [["a=1"], ["a=x"]]),
    "lists": (["a=[1,2],[3]"], [["a=[1,2]"], ["a=[3]"]]),
    "quotes": (["a='x, y',z"], [["a='x, y'"], ["a=z"]]),
    "added keys": (["+a=1,2"], [["+a=1"], ["+a=2"]]),
    "a group": (["selector/pick=topk,sample"], [["selector/pick=topk"], ["selector/pick=sample"]]),
    "a pattern": (["selector=glob(q3*)"], [["selector=q3"], ["selector=q3_only"], ["selector=q3_reverse"]]),
    "equal values": (["a=1,2,1"], [["a=1"], ["a=2"]]),
}
WRONG = {
    "foo bar": "cannot read 'foo bar'; expected KEY=VALUE",
    "ratio": "cannot read 'ratio'",
    "lr=interval(0,1)": r"lr=interval\(0,1\): an interval has no end of values; name them: lr=1,2",
    "seed=range(3,3)": r"seed=range\(3,3\): stands for no value",
    "selector=glob(zzz*)": "stands for no value",
    "seed=range(0,10,0)": r"seed=range\(0,10,0\): expected numbers with an end and a step that is not 0",
    "seed=range(0,1.5,0)": "a step that is not 0",
    "seed=range(0,inf)": "expected numbers with an end",
    "seed=range(nan,1)": "expected numbers with an end",
    "seed=range(0,1e8)": r"stands for 100,000,000 points, a sweep has at most 10,000; name fewer",
    "seed=range(0,1,1e-9)": r"stands for 1,000,000,000 points",
    "seed=range(1e308,-1e308,-1)": "stands for inf points",
    "seed=shuffle(range(0,100000000))": r"stands for 100,000,000 points",
    "seed=" + ",".join(map(str, range(10_001))): r"^seed=0,1,2.*10000: stands for 10,001 points",
    "a=" + "x" * 50_000: r"a=x+\.\.\.: expected at most 50000 characters, got 50002",
    "a=" + "[" * 5000: "expected at most 50 brackets inside each other",
    "a='\0'": "expected no NUL character",
    "+=": r"cannot read '\+='; expected KEY=VALUE",
    "": "cannot read ''; expected KEY=VALUE",
}


@pytest.mark.parametrize("case", ONE)
def test_one_combination_is_what_was_typed(case: str) -> None:
    assert expand_overrides(ONE[case]) == [ONE[case]]


@pytest.mark.parametrize("case", SEVERAL)
def test_every_combination_in_order(case: str) -> None:
    typed, expected = SEVERAL[case]
    assert expand_overrides(typed) == expected


def test_the_most_points_there_may_be() -> None:
    assert len(expand_overrides(["seed=range(0,100)", "data.seed=range(0,100)"])) == 10_000
    with pytest.raises(ConfigError, match=r"^seed=range\(0,100\) data.seed=range\(0,101\): stands for 10,100 points"):
        expand_overrides(["seed=range(0,100)", "data.seed=range(0,101)"])
    assert len(expand_overrides(["seed=range(0,-10000,-1)"])) == 10_000


def test_each_combination_composes() -> None:
    combinations = expand_overrides(["model=qwen3", "selector=full,q3_only", "ratio=1,0.2"])
    assert [load(one).ratio for one in combinations] == [1, 0.2, 1, 0.2]


def test_a_pattern_sees_a_users_own_folder(tmp_path: Path) -> None:
    (tmp_path / "selector").mkdir()
    (tmp_path / "selector" / "q3_mine.yaml").write_text("# mine\n")
    assert ["selector=q3_mine"] in expand_overrides(["selector=glob(q3*)"], tmp_path)
    assert ["selector=q3_mine"] not in expand_overrides(["selector=glob(q3*)"])


@pytest.mark.parametrize("typed", WRONG)
def test_what_cannot_be_expanded_is_one_line(typed: str) -> None:
    with pytest.raises(ConfigError, match=WRONG[typed]):
        expand_overrides([typed])


def test_a_key_that_varies_is_given_once() -> None:
    with pytest.raises(ConfigError, match="ratio: given 2 times"):
        expand_overrides(["ratio=1,0.5", "ratio=0.2"])
