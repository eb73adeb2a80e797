"""Many points composed at once are what Hydra composes of each."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from tipx.config import Composer, compose_with_choices, resolve
from tipx.config import many as many_module
from tipx.errors import ConfigError
from tipx.files.package_data import package_folder
from tipx.sweep.question import read_sweep

pytestmark = pytest.mark.long(40)

SWEEPS = sorted(file.stem for file in package_folder("sweeps").glob("*.yaml"))
GROUPS = [
    *("experiment=tiny", "+experiment=tiny_agent", "model=qwen3", "selector=q3_only", "selector/pick=sample"),
    *("selector/score=entropy", "norm=v1", "divergence=jsd", "data=file", "benchmark=paper_math", "loop=paper"),
    *("template@model.template=boxed", "optim=adamw_paper", "~experiment", "experiment=null", "rollout=vllm"),
    *("heldout=gsm8k", "logger=wandb", "eval=sampled_16", "nonsense=1", "selector=nonsense", "++selector=full"),
]
VALUES = [
    *("seed=3", "seed=${oc.env:HOME}", "ratio=0.1", "ratio=null", "optim.lr=5e-4", "optim.betas=[0.9,0.99]"),
    *("loop.steps=7", "loop.steps=${seed}", "loop.steps=a b", "loop.nonsense=1", "model.teacher.path=/x"),
    *("name=x-${seed}", "name='a, b'", "selector.pick.ratio=${ratio}", "selector.pick.ratio=0.25"),
    *("benchmark.name=x", "benchmark.asked={a: b}", "benchmark.asked.eval=sampled", "data.path=y", "data={a:1}"),
    *("seed={a:1}", "+seed=1", "+extra.key=1", "++seed=2", "++optim.lr=1", "~seed", "~optim.lr", "seed=1,2", "seed="),
    *("model.template.instruction=''", "optim=null", "optim.lr.deep=1", "_target_=x", "runs_dir=/tmp/runs", "group=g"),
    *("a b=1", "hydra.job.name=x", "quadrants={a: 0.1}", "loop@x=1", "seed@a=1", "seed=true", "optim.lr=???"),
]  # fmt: skip


def outcome(compose: Any, overrides: Sequence[str]) -> Any:
    """All that a composition says: the tree with its order and flags, its values, its choices, or its error."""
    try:
        cfg, choices = compose(overrides)
    except ConfigError as error:
        return str(error)
    tree = OmegaConf.to_yaml(cfg, resolve=False), repr(OmegaConf.to_container(cfg, resolve=False))
    try:
        values = repr(resolve(cfg))
    except ConfigError as error:
        values = str(error)
    return tree, flags_of(cfg), values, [*choices.items()]


def flags_of(cfg: DictConfig) -> list[Any]:
    """Whether the whole and its parts may get keys, and may be changed."""
    nodes = [cfg, *(node for key in cfg if isinstance(node := cfg._get_node(key), DictConfig))]
    return [(OmegaConf.is_struct(node), OmegaConf.is_readonly(node)) for node in nodes]


def whole(overrides: Sequence[str]) -> Any:
    return compose_with_choices(overrides, "train", None)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_points_of_a_sweep(sweep: str) -> None:
    question, _ = read_sweep(sweep, None)
    points = question.combinations([f"group={sweep}"], None)
    composer = Composer()
    for overrides in (points[0], points[len(points) // 2], points[-1]):
        assert outcome(composer.compose, overrides) == outcome(whole, overrides)


@pytest.mark.parametrize("seed", range(6))
def test_overrides_at_random(seed: int) -> None:
    rng, composer = random.Random(seed), Composer()
    base = rng.sample(GROUPS, rng.randrange(3))
    for _ in range(6):
        overrides = [*base, *rng.choices(VALUES, k=rng.randrange(4))]
        rng.shuffle(overrides)
        assert outcome(composer.compose, overrides) == outcome(whole, overrides), overrides


def test_each_override_alone() -> None:
    composer = Composer()
    for override in VALUES:
        assert outcome(composer.compose, [override]) == outcome(whole, [override]), override


def test_a_value_that_is_set_stays_in_its_point() -> None:
    composer = Composer()
    trees = [composer.compose([f"optim.betas=[0.{i},0.9]", "name=x"])[0] for i in (1, 2)]
    choices = [composer.compose(["seed=1"])[1] for _ in range(2)]
    choices[0]["selector"] = "changed"
    assert [tree.optim.betas[0] for tree in trees] == [0.1, 0.2]
    assert choices[1]["selector"] == "soft_or"
    assert composer.compose([])[0].name is None


def test_each_choice_of_groups_is_composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[list[str]] = []
    compose = many_module.compose_all
    monkeypatch.setattr(
        many_module, "compose_all", lambda words, *rest: composed.append(words) or compose(words, *rest)
    )
    monkeypatch.setattr(many_module, "compose_with_choices", lambda *_: pytest.fail("composed as a whole"))
    composer = Composer()
    for rule in ("full", "q3_only"):
        for seed in range(5):
            composer.compose([f"seed={seed}", f"selector={rule}", "ratio=0.2"])
    assert composed == [["selector=full"], ["selector=q3_only"]]


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "selector").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "selector" / "own.yaml").write_text("defaults: [full, _self_]\n")
    (tmp_path / "mine" / "a.yaml").write_text("key: 1\n")
    composer = Composer(tmp_path)
    for overrides in (["selector=own", "seed=2"], ["mine=a", "seed=2"], ["+mine=a", "mine.key=2"], ["+mine=a"]):
        assert outcome(composer.compose, overrides) == outcome(
            lambda words: compose_with_choices(words, "train", tmp_path), overrides
        )
