"""A user's own folder: one Python file and one YAML add a selector, without a line changed in tipx."""

from pathlib import Path

import pytest
import torch

from tipx.config import build, describe_choices, find_origins, load, options
from tipx.errors import ConfigError
from tipx.noise import Noise
from tipx.types import TokenStats

RULE = '''
"""Tokens that the student itself found unlikely."""

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.spec import Positive, spec
from tipx.types import TokenStats


@spec
class Unlikely:
    """(-log P_S of the sampled token) ** power, nats."""

    power: Positive

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"student_logprob"})

    def __call__(self, stats: TokenStats, valid_BT: Bool[Tensor, "B T"], noise: Noise) -> Float[Tensor, "B T"]:
        return (-stats["student_logprob"]) ** self.power * valid_BT
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_rules").mkdir()
    (tmp_path / "my_rules" / "unlikely.py").write_text(RULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "my é, 'conf'"
    (folder / "selector" / "score").mkdir(parents=True)
    (folder / "selector" / "score" / "unlikely.yaml").write_text(
        "# How unlikely the student found its own token\n_target_: my_rules.unlikely.Unlikely\npower: 1.0\n"
    )
    (folder / "selector" / "mine.yaml").write_text(
        "# Mine\ndefaults:\n  - score: unlikely\n  - pick: topk\n  - _self_\n\n_target_: tipx.selectors.Selector\n"
    )
    return folder


def test_it_is_found_listed_and_described(mine: Path) -> None:
    assert "unlikely" in options("selector/score", mine)
    assert "unlikely" not in options("selector/score")
    assert {"mine", "soft_or"} <= set(options("selector", mine))
    assert describe_choices("selector/score", mine)["unlikely"] == "How unlikely the student found its own token"


def test_it_selects_with_any_pick_and_as_a_preset(mine: Path) -> None:
    # Surprise 0.1, 3, 2 nats: floor(0.4 * 3) = 1 token, the second; the two lowest are the others.
    stats = TokenStats(student_logprob=torch.tensor([[-0.1, -3.0, -2.0]]))
    valid_BT = torch.ones(1, 3, dtype=torch.bool)
    for overrides, expected in (
        (["selector=mine", "ratio=0.4"], [0, 1, 0]),
        (["selector/score=unlikely", "selector/pick=bottomk", "ratio=0.7"], [1, 0, 1]),
    ):
        selector = build(load(overrides, "train", mine), mine).selector
        assert selector.needs == {"student_logprob"}
        assert selector(stats, valid_BT, Noise(0)).tolist() == [expected]


def test_its_fields_are_checked_like_any(mine: Path) -> None:
    with pytest.raises(ConfigError, match=r"^selector\.score\.power: must be greater than 0, got -1"):
        build(load(["selector=mine", "selector.score.power=-1"], "train", mine), mine)
    with pytest.raises(ConfigError, match=r"^selector=mime: no such choice; did you mean mine\?"):
        load(["selector=mime"], "train", mine)


def test_origins_name_the_folder(mine: Path) -> None:
    found = find_origins(["selector=mine", "seed=1"], "train", mine)
    assert found["selector.score.power"] == f"{mine}/selector/score/unlikely.yaml"
    assert found["optim.lr"] == "conf/optim/adamw.yaml"


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--config-dir: .*nowhere is not a folder"):
        load([], "train", tmp_path / "nowhere")
