"""Where a value came from: the file that set it last, or the command line."""

import pytest

from tipx.config import find_origins, load, resolve
from tipx.config.trees import leaf_keys

CASES = [
    ([], "optim.lr", "conf/optim/adamw.yaml"),
    ([], "seed", "conf/train.yaml"),
    ([], "model.student.path", "conf/model/tiny.yaml"),
    ([], "model.student.dtype", "conf/model/base.yaml"),
    ([], "model.template.chat", "conf/template/plain.yaml"),
    # A recipe sets a few values over the files it builds on.
    (["model=qwen3"], "optim.lr", "conf/model/qwen3.yaml"),
    (["model=qwen3"], "optim.warmup_steps", "conf/optim/adamw_paper.yaml"),
    (["model=qwen3"], "optim.eps", "conf/optim/adamw.yaml"),
    (["model=qwen3"], "loop.rollouts", "conf/loop/paper.yaml"),
    (["model=qwen3"], "loop.denominator", "conf/loop/standard.yaml"),
    (["model=qwen3"], "model.teacher.dtype", "conf/model/qwen3.yaml"),
    (["model=qwen3"], "model.template.instruction", "conf/template/boxed.yaml"),
    (["experiment=qwen3"], "ratio", "conf/experiment/qwen3.yaml"),
    (["experiment=qwen3"], "optim.lr", "conf/model/qwen3.yaml"),
    (["experiment=qwen3"], "selector._target_", "conf/selector/full.yaml"),
    (["selector=q3_reverse"], "selector.score.divergence", "conf/selector/score/q3_reverse.yaml"),
    (["selector=q3_reverse"], "selector.pick.rounding", "conf/selector/pick/_budget.yaml"),
    (["selector/score=entropy"], "selector.score._target_", "conf/selector/score/entropy.yaml"),
    (
        ["selector=shuffled", "selector/score@selector.score.of=entropy"],
        "selector.score.of._target_",
        "conf/selector/score/entropy.yaml",
    ),
    ([], "selector.pick.ratio", "= ratio (conf/train.yaml)"),
    (["ratio=0.1"], "selector.pick.ratio", "= ratio (command line)"),
    ([], "selector.score.norm", "= norm"),
    (["optim.lr=1"], "optim.lr", "command line"),
    (["optim.lr=1"], "optim.clip", "conf/optim/adamw.yaml"),
    (["model=qwen3", "optim.lr=1"], "optim.lr", "command line"),
    (["++loop.steps=3"], "loop.steps", "command line"),
    (["experiment=qwen3", "ratio=0.2"], "ratio", "command line"),
]


@pytest.mark.parametrize(("overrides", "key", "origin"), CASES, ids=str)
def test_origin(overrides: list[str], key: str, origin: str) -> None:
    assert find_origins(overrides)[key] == origin


@pytest.mark.parametrize("overrides", [[], ["experiment=llama", "selector=shuffled"], ["selector=q1", "logger=wandb"]])
def test_every_value_has_one(overrides: list[str]) -> None:
    found = find_origins(overrides)
    for key in leaf_keys(resolve(load(overrides))):
        parts = key.split(".")
        # A value below an interpolated section comes from where the section does.
        assert any(".".join(parts[:n]) in found for n in range(1, len(parts) + 1)), key


def test_a_whole_section_given_on_the_command_line_replaces_the_files() -> None:
    found = find_origins(["selector.score.norm={_target_:tipx.selectors.normalise.Normalise}"])
    assert found["selector.score.norm"] == "command line"
    assert found["selector.score.divergence"] == "conf/selector/score/soft_or.yaml"
