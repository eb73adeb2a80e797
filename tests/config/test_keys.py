"""The keys of conf/ read without Hydra, against what Hydra composes; and what `tipx explain` finds."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tipx.config import find_origins, load, look_up
from tipx.config.fields import describe_fields
from tipx.config.keys import ROOTS, KeyCatalogue, Mount, catalogue, default_value, describe_key, undocumented_keys
from tipx.config.trees import leaf_keys, value_at
from tipx.errors import ConfigError

TRAIN = catalogue("train")


def composed(words: list[str], root: str) -> dict[str, Any]:
    """Every key with its value as Hydra has it, before interpolation."""
    tree = OmegaConf.to_container(load(words, root), resolve=False)
    return {key: value_at(tree, key) for key in leaf_keys(tree) if not key.endswith("_target_")}


@pytest.mark.parametrize("root", ROOTS)
def test_without_overrides_all_is_as_hydra_has_it(root: str) -> None:
    all_keys = catalogue(root)
    own = {key: one.value for key, some in all_keys.settings.items() for one in some if not one.choice}
    # `load` leaves out how a model folder is asked.
    assert {key: value for key, value in own.items() if "asked." not in key} == composed([], root)
    origins = find_origins([], root)
    for key in own:
        setting = default_value(all_keys, key)
        assert setting is not None
        assert setting.file == origins[key], key


@pytest.mark.parametrize("group", ["divergence", "heldout", "rollout", "selector", "eval", "model"])
def test_every_choice_is_as_hydra_has_it(group: str) -> None:
    for name in TRAIN.mounts[Mount(group, group)]:
        word = f"{group}={name}"
        there = composed([word] if group == "model" else [word, "model=base"], "train")  # which sets no other groups
        own = {key: one.value for key, some in TRAIN.settings.items() for one in some if one.choice == word}
        assert own.items() <= there.items(), word
        assert own.keys() >= {key for key in there if key.startswith(f"{group}.")}, word


def test_a_choice_inside_another() -> None:
    words = ["rollout=agent", "rollout@rollout.backend=vllm"]
    there = composed(words, "train")
    own = {key: one.value for key, some in TRAIN.settings.items() for one in some if one.choice == words[1]}
    assert "rollout.backend.mode" in own
    assert own.items() <= there.items()
    # What Hydra would refuse is not offered: turns of turns, and a shuffled score that is shuffled.
    assert "agent" not in TRAIN.mounts[Mount("rollout", "rollout.backend")]
    assert "shuffled" not in TRAIN.mounts[Mount("selector/score", "selector.score.of")]


@pytest.mark.parametrize("root", ROOTS)
def test_every_key_has_a_meaning(root: str) -> None:
    assert undocumented_keys(catalogue(root)) == []


def test_a_key_without_a_meaning_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim" / "mine.yaml").write_text("# Mine\ndefaults: [adamw]\nlrr: 1\n")
    assert undocumented_keys(KeyCatalogue("train", tmp_path)) == []  # a section's own meaning is better than none
    (tmp_path / "optim" / "mine.yaml").write_text("# @package _global_\n# Mine\nstrange: 1\n")
    assert undocumented_keys(KeyCatalogue("train", tmp_path)) == ["strange"]


def test_every_field_of_a_class_is_in_the_yaml() -> None:
    for place, targets in TRAIN.targets.items():
        for target in targets:
            keys = [*TRAIN.settings, *TRAIN.sections, *(mount.package for mount in TRAIN.mounts)]
            there = {key for key in keys if not place or key.startswith(f"{place}.")}
            names = [f"{place}.{name}" if place else name for name in describe_fields(target)]
            assert set(names) <= there, f"{place}: {target}"


# --- looking up ------------------------------------------------------------------------------------------------------


def test_a_key() -> None:
    facts = look_up("loop.steps", [])
    assert (facts["kind"], facts["type"], facts["range"]) == ("key", "whole number", "1 to 10,000,000")
    assert (facts["default"], facts["default_from"]) == (150, "conf/loop/standard.yaml")
    assert {"choice": "loop=paper", "value": 500, "file": "conf/loop/paper.yaml"} in facts["set_by"]
    assert facts["exists_with"] == []


def test_overrides_say_another_value() -> None:
    facts = look_up("optim.lr", ["model=qwen3", "optim.clip=2"])
    assert (facts["value"], facts["value_from"]) == (1e-6, "conf/model/qwen3.yaml")
    assert (facts["default"], facts["default_from"]) == (1e-3, "conf/optim/adamw.yaml")
    assert look_up("optim.clip", ["optim.clip=2"])["value_from"] == "command line"
    # The meaning is that of the class which the overrides choose.
    assert "turn" in look_up("rollout.max_new_tokens", ["rollout=agent"])["meaning"]
    assert look_up("selector.pick.ratio", ["ratio=0.2"])["value"] == 0.2


@pytest.mark.parametrize(
    ("word", "key"),
    [("lr", "optim.lr"), ("steps", "loop.steps"), ("ratio", "ratio"), ("kept_frac", "select/kept_frac"), ("n", "n")],
)
def test_an_ending(word: str, key: str) -> None:
    assert look_up(word, [])["key"] == key


def test_an_ending_of_several() -> None:
    facts = look_up("path", [])
    assert facts["kind"] == "several"
    assert {"model.teacher.path", "data.path", "heldout.texts.path"} <= facts["keys"].keys()


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("rollout.server", ["rollout=vllm", "rollout=vllm_server"]),
        ("divergence.k", ["divergence=topk"]),
        ("heldout.texts.path", ["heldout=file", "heldout=gsm8k"]),
    ],
)
def test_a_key_that_another_choice_has(key: str, choices: list[str]) -> None:
    facts = look_up(key, [])
    assert not facts["exists"]
    assert [one for one in facts["exists_with"] if one.partition("=")[0] == choices[0].partition("=")[0]] == choices
    assert look_up(key, [choices[0]])["exists"]


def test_a_group_its_choices_and_which_is_taken() -> None:
    facts = look_up("selector", [])
    assert (facts["kind"], facts["value"]) == ("group", "soft_or")
    assert facts["choices"]["full"] == "Every token: the baseline"
    assert look_up("selector", ["selector=full"])["value"] == "full"
    assert look_up("selector/pick", [])["value"] == "topk"
    assert look_up("model.template", [])["key"] == "template@model.template"


def test_a_section_a_choice_an_alias_and_a_metric() -> None:
    assert look_up("model.teacher", [])["kind"] == "section"
    assert look_up("q3_only", [])["choices"].keys() == {"selector=q3_only"}
    assert look_up("selector.score.norm.scope", [])["is"]["key"] == "norm.scope"
    assert look_up("tokens/q3", [])["key"] == "quadrant/<quadrant>_frac"  # its older name
    assert look_up("time/train_s", [])["unit"] == "seconds"


def test_a_users_own_folder(tmp_path: Path) -> None:
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim" / "mine.yaml").write_text("# Mine\ndefaults: [adamw]\nlr: 0.5\n")
    facts = look_up("optim.lr", [], tmp_path)
    assert {"choice": "optim=mine", "value": 0.5, "file": f"{tmp_path}/optim/mine.yaml"} in facts["set_by"]
    assert look_up("optim", [], tmp_path)["choices"]["mine"] == "Mine"


@pytest.mark.parametrize(("word", "near"), [("looop.steps", "loop.steps"), ("ratoi", "ratio"), ("x" * 5000, "")])
def test_what_is_no_key(word: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"no such key; .*{near}"):
        look_up(word, [])


def test_it_takes_no_torch() -> None:
    code = "import sys; from tipx.config import look_up; look_up('loop.steps', []); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_key_of_several_classes_is_described_by_each() -> None:
    assert len(describe_key(TRAIN, "rollout.max_new_tokens")) == 3  # transformers, vLLM, agents
