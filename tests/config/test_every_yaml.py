"""Every file of `conf/` composes and builds; the list is what is on the disk."""

import dataclasses
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from tipx.config import build, conf_dir, describe_choices, load, options, rebuild, resolve
from tipx.config.trees import value_at
from tipx.errors import ConfigError
from tipx.evals.job import EvalJob
from tipx.train.experiment import Experiment

ROOTS = {"train": Experiment, "eval": EvalJob}
LAUNCH = "launch"  # what a launcher is handed: no object
DEVICES = "devices"  # a table of specs
FILES = sorted(path.relative_to(conf_dir()).with_suffix("").as_posix() for path in conf_dir().rglob("*.yaml"))
CHOICES = [file for file in FILES if "/" in file and not Path(file).name.startswith("_")]
PARTS = [file for file in FILES if Path(file).name.startswith("_")]
# Values that a file leaves to the user, as `???`.
REQUIRED = {
    "model/base": ["model.teacher.path=/models/teacher", "model.student.path=/models/student"],
    "data/file": ["data.path=prompts.jsonl"],
    "heldout/file": ["heldout.texts.path=texts.jsonl"],
}
# Where in the tree a group is, if not under its own name.
PLACES = {"template": "model.template"}
# What else must be chosen for a group to have a place.
NEEDS = {"rollout/calls": ["rollout=agent"]}
EVAL_GROUPS = ("benchmark", "eval", "hardware", "template")


def read(file: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((conf_dir() / f"{file}.yaml").read_text())
    return tree


def overrides(file: str) -> list[str]:
    group, option = file.rsplit("/", 1)
    place = f"@{PLACES[group]}" if group in PLACES else ""
    return [*NEEDS.get(group, []), f"{group}{place}={option}", *REQUIRED.get(file, [])]


def located(target: str) -> Any:
    module, name = target.rsplit(".", 1)
    return getattr(import_module(module), name)


def built_at(built: Any, key: str) -> Any:
    for part in key.split("."):
        built = built[part] if isinstance(built, dict) else getattr(built, part)
    return built


@pytest.mark.parametrize("file", CHOICES)
def test_choice_composes_builds_and_rebuilds(file: str) -> None:
    cfg = load(overrides(file))
    built, tree = build(cfg), resolve(cfg)
    assert isinstance(built, Experiment)
    target, group = read(file).get("_target_"), file.rsplit("/", 1)[0]
    if target is not None:
        place = PLACES.get(group, group.replace("/", "."))
        assert value_at(tree, place)["_target_"] == target
        assert type(built_at(built, place)) is located(target)
    # What a run directory keeps: YAML text of plain containers.
    text = yaml.safe_dump(tree, sort_keys=False)
    assert rebuild(yaml.safe_load(text)) == built


@pytest.mark.parametrize("file", [file for file in CHOICES if file.split("/")[0] in EVAL_GROUPS])
def test_choice_composes_and_builds_for_eval(file: str) -> None:
    group, option = file.split("/")
    job = build(load([f"{group}={option}", "n=3", "limit=5"], "eval"))
    assert isinstance(job, EvalJob)
    assert (job.how.n, job.how.limit) == (3, 5)
    assert type(getattr(job, group)) is located(
        value_at(resolve(load([f"{group}={option}"], "eval")), group)["_target_"]
    )


def test_nothing_but_choices_parts_and_the_two_roots() -> None:
    assert [file for file in FILES if "/" not in file] == sorted([*ROOTS, LAUNCH, DEVICES])
    for name, kind in ROOTS.items():
        assert isinstance(build(load([], name)), kind)


@pytest.mark.parametrize("file", CHOICES)
def test_choice_is_offered_with_a_description(file: str) -> None:
    group, option = file.rsplit("/", 1)
    assert option in options(group)
    assert len(describe_choices(group)[option]) > 3


@pytest.mark.parametrize("file", PARTS)
def test_part_is_used_and_not_offered(file: str) -> None:
    group, part = file.rsplit("/", 1)
    assert part not in options(group)
    assert any(part in str(read(choice).get("defaults", "")) for choice in CHOICES if choice.startswith(f"{group}/"))


@pytest.mark.parametrize("file", CHOICES)
def test_a_required_value_is_known_here_and_asked_for_by_name(file: str) -> None:
    required = REQUIRED.get(file, [])
    assert (conf_dir() / f"{file}.yaml").read_text().count("???") == len(required)
    for missing in required:
        others = [override for override in overrides(file) if override != missing]
        key = missing.split("=")[0]
        with pytest.raises(ConfigError, match=f"^{key}: a value is required; give it as {key}=VALUE"):
            build(load(others))


@pytest.mark.parametrize("file", [file for file in FILES if "_target_" in read(file)])
def test_defaults_live_in_yaml_alone(file: str) -> None:
    # A field with a default in Python would be a second place for one number.
    fields = dataclasses.fields(located(read(file)["_target_"]))
    for field in fields:
        assert field.default is dataclasses.MISSING, field.name
        assert field.default_factory is dataclasses.MISSING, field.name
