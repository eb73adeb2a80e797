"""A number in the YAML or on the command line is the number in the object: nothing else holds a copy."""

from functools import cache
from typing import Any

import pytest

from tipx.config import build, load, resolve
from tipx.config.compose import PLACE
from tipx.config.trees import leaf_keys, value_at
from tipx.errors import ConfigError
from tipx.selectors.entropy import Entropy
from tipx.selectors.normalise import Normalise

# key -> another value, and every other place that it reaches
MOVES: dict[str, tuple[Any, list[str]]] = {
    "seed": (3, ["model.student.lora.seed"]),
    "ratio": (0.25, ["selector.pick.ratio"]),
    "norm.entropy_clip": (0.5, ["selector.score.norm.entropy_clip"]),
    "selector.score.divergence": ("jsd", []),
    "selector.pick.scope": ("step", []),
    "selector.pick.min_keep": (0, []),
    "quadrants.entropy_quantile": (0.3, []),
    "optim.lr": (5e-4, []),
    "optim.clip": (2.5, []),
    "optim.schedule": ("constant", []),
    "loop.steps": (7, []),
    "loop.denominator": ("valid", []),
    "loop.precision": ("bf16", []),
    "rollout.temperature": (0.7, []),
    "rollout.max_new_tokens": (9, []),
    "eval.sampling.max_new_tokens": (11, []),
    "eval.greedy": (False, []),
    "data.size": (64, []),
    "benchmark.size": (8, []),
    "vocab.chunk": (5, []),
    "model.student.dtype": ("bfloat16", []),
    "model.teacher.path": ("/models/t", []),
    "model.template.chat": (True, []),
    "hardware.micro_batch": (3, []),
}


def built_at(built: Any, key: str) -> Any:
    for part in key.split("."):
        built = built[part] if isinstance(built, dict) else getattr(built, part)
    return list(built) if isinstance(built, tuple) else built


def values(built: Any, keys: list[str]) -> dict[str, Any]:
    return {key: built_at(built, key) for key in keys}


def fields(tree: dict[str, Any]) -> list[str]:
    return [key for key in leaf_keys(tree) if key not in PLACE and not key.endswith("_target_")]


@cache
def defaults() -> tuple[list[str], dict[str, Any]]:
    cfg = load([])
    keys = fields(resolve(cfg))
    return keys, values(build(cfg), keys)


@pytest.mark.parametrize("overrides", [[], ["experiment=qwen3", "selector=q3_only"], ["selector=q1", "logger=wandb"]])
def test_every_leaf_is_an_attribute_of_the_same_value(overrides: list[str]) -> None:
    cfg = load(overrides)
    tree, built = resolve(cfg), build(cfg)
    assert len(fields(tree)) > 60
    assert values(built, fields(tree)) == {key: value_at(tree, key) for key in fields(tree)}


@pytest.mark.parametrize("key", MOVES)
def test_one_override_moves_one_value_and_what_interpolates_it(key: str) -> None:
    value, reached = MOVES[key]
    keys, was = defaults()
    now = values(build(load([f"{key}={value}"])), keys)
    assert {k for k in keys if was[k] != now[k]} == {key, *reached}
    assert {now[k] for k in (key, *reached)} == {value}


def test_norm_reaches_every_score_that_normalises() -> None:
    v1 = Normalise(entropy_clip=1.0, divergence_clip=1.0, scope="step")
    for name in ("soft_or", "q3_only", "q3_reverse"):
        assert build(load([f"selector={name}"])).selector.score.norm != v1
        assert build(load([f"selector={name}", "norm=v1"])).selector.score.norm == v1
    assert build(load(["selector=shuffled", "norm=v1"])).selector.score.of.norm == v1


def test_shuffled_takes_any_score() -> None:
    exp = build(load(["selector=shuffled", "selector/score@selector.score.of=entropy"]))
    assert exp.selector.score.of == Entropy()
    alone = build(load(["selector/score=shuffled", "selector/score@selector.score.of=q3"]))
    assert alone.selector.score.of == build(load(["selector/score=q3"])).selector.score


# As the shell hands them over, that is without the outer quotes.
@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("name=my-run-2", "name", "my-run-2"),
        ("model.student.path=a-b/c-d", "model.student.path", "a-b/c-d"),
        ("model.student.path=/a b/c", "model.student.path", "/a b/c"),
        ('model.template.instruction=" Think, then box it: x = \\"1\\"."', "model.template.instruction", None),
        ("model.template.instruction='a, b'", "model.template.instruction", "a, b"),
        ("optim.betas=[0.5,0.6]", "optim.betas", [0.5, 0.6]),
        ("eval.limit=null", "eval.limit", None),
        ("eval.limit=4", "eval.limit", 4),
        ("++loop.steps=9", "loop.steps", 9),
        ("optim.lr=5e-4", "optim.lr", 0.0005),
        ("model.student.revision='é数'", "model.student.revision", "é数"),
    ],
)
def test_hydras_grammar(override: str, key: str, value: Any) -> None:
    expected = ' Think, then box it: x = "1".' if value is None and "Think" in override else value
    cfg = load([override])
    build(cfg)
    assert value_at(resolve(cfg), key) == expected


def test_plus_adds_a_new_key_only() -> None:
    with pytest.raises(ConfigError, match=r"already at 'optim\.lr'"):
        load(["+optim.lr=1"])
    with pytest.raises(ConfigError, match=r"^optim.lrr: no such key of AdamW; "):
        build(load(["+optim.lrr=1"]))


def test_a_key_that_the_chosen_class_has_not_is_named_with_it() -> None:
    # Nobody typed it: the pair's preset sets it, for agents.
    with pytest.raises(ConfigError, match=r"^rollout.max_turns: no such key of VLLMRollouts; "):
        build(load(["model=tiny_agent", "rollout=vllm"]))


def test_tilde_removes_and_the_gap_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^optim.lr: a value is required; give it as optim.lr=VALUE"):
        build(load(["~optim.lr"]))


def test_a_spec_given_as_a_section_is_the_same_spec() -> None:
    section = "selector.score={_target_:tipx.selectors.entropy.Entropy}"
    assert build(load(["~selector.score", f"+{section}"])) == build(load(["selector/score=entropy"]))
