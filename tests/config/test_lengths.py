"""How long an answer may be is told by the model's preset, whatever samples."""

from functools import cache
from typing import Any

import pytest

from tipx.config import Tree, load, options, resolve

# preset -> new tokens of an answer in training, and in its evaluations
ANSWERS = {
    "tiny": (72, 72),
    "smollm2": (64, 72),
    "qwen3": (8192, 8192),
    "qwen3_32b": (8192, 8192),
    "qwen2_5": (8192, 8192),
    "llama": (8192, 8192),
}
# preset -> new tokens of a trajectory, of one turn, and tokens of the whole text (None: what the model reads)
TRAJECTORIES = {
    "tiny_agent": (120, 40, None),
    "qwen3_agent_14b": (24576, 8192, 32768),
    "qwen3_agent_32b": (24576, 8192, 32768),
}
CHOICES = {
    "rollout": ("hf", "hf_long", "vllm", "vllm_server"),
    "eval": ("sampled", "sampled_16", "sampled_long", "vllm"),
}
AGENTS = ("agent", "agent_long", "agent_vllm")


@cache
def composed(*overrides: str) -> Tree:
    return resolve(load(overrides))


def lengths(sampling: Any) -> tuple[Any, ...]:
    """Of a trajectory where there are turns, else of an answer."""
    if "backend" not in sampling:
        return (sampling["max_new_tokens"],)
    return sampling["max_new_tokens"], sampling["backend"]["max_new_tokens"], sampling["context"]


def test_every_preset_is_here_but_that_of_unknown_models() -> None:
    assert {*ANSWERS, *TRAJECTORIES, "base"} == set(options("model"))


@pytest.mark.parametrize("model", ANSWERS)
def test_the_length_of_an_answer_is_the_presets(model: str) -> None:
    trained, evaluated = ANSWERS[model]
    for words in ([], *([f"{group}={name}"] for group, names in CHOICES.items() for name in names)):
        tree = composed(f"model={model}", *words)
        assert (lengths(tree["rollout"]), lengths(tree["eval"]["sampling"])) == ((trained,), (evaluated,)), words


@pytest.mark.parametrize("model", TRAJECTORIES)
def test_the_lengths_of_a_trajectory_are_the_presets(model: str) -> None:
    told = TRAJECTORIES[model]
    for words in ([], *([f"{group}={name}"] for group in ("rollout", "eval") for name in AGENTS)):
        tree = composed(f"model={model}", *words)
        limits = [lengths(sampling) for sampling in (tree["rollout"], tree["eval"]["sampling"])]
        assert limits == [told, told], words


def test_a_pair_of_unknown_models_takes_the_backends_lengths() -> None:
    paths = ("model=base", "model.teacher.path=/models/teacher", "model.student.path=/models/student")
    told = {name: lengths(composed(*paths, f"rollout={name}")["rollout"]) for name in CHOICES["rollout"]}
    assert told == {"hf": (72,), "hf_long": (8192,), "vllm": (8192,), "vllm_server": (8192,)}


def test_what_is_typed_wins() -> None:
    assert lengths(composed("rollout=vllm", "rollout.max_new_tokens=9")["rollout"]) == (9,)
