"""Which run it is: nothing else decides the hash, and nothing that changes a number is left out of it."""

import re
from copy import deepcopy
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tipx.config import load, resolve
from tipx.config.construct import find_spec
from tipx.evals.job import EvalJob
from tipx.moved import MOVED
from tipx.runs.identity import AS_BEFORE, OUTSIDE, SWITCHED_OFF, class_name, first_identity, identity, meaning
from tipx.spec import SPECS
from tipx.train.experiment import Experiment

STORED = Path(__file__).parent / "stored"
# Configurations of runs as they were stored on these dates. A hash never changes; the overrides are the run today.
LONG = ["rollout.max_new_tokens=8192", "eval.sampling.max_new_tokens=8192"]
"""Before a preset's lengths were those of vLLM too."""
GOLDEN: dict[str, tuple[str, list[str]]] = {
    "2026-11-24-12h-tiny_q3": ("6785f238", ["selector=q3_only", "ratio=0.2", "seed=3", "guard.enabled=false"]),
    "2026-11-24-16h-tiny_full": ("b3156049", ["selector=full"]),
    "2026-11-24-21h-tiny_agent": ("52468e50", ["experiment=tiny_agent"]),
    "2026-11-26-qwen3": ("02155755", ["experiment=qwen3", "selector=entropy_sampling", "ratio=0.2"]),
    "2026-11-29-llama_v1": ("a75f990a", ["experiment=llama", "norm=v1"]),
    "2026-11-29-topk": ("67073a90", ["divergence=topk", "loop.denominator=valid"]),
    "2026-11-29-lora": ("ebbd14fc", ["model.student.lora.r=16", "seed=3"]),
    "2026-11-29-vllm_server": ("4fe0d9b3", [*LONG, "rollout=vllm_server", "eval=vllm"]),
}

SAME = [
    ["runs_dir=/elsewhere"],
    ["name=another"],
    ["group=paper"],
    ["logger=wandb"],
    ["logger=tensorboard"],
    ["logger=trackio"],
    ["hardware=paper"],
    ["hardware.device=cpu", "hardware.micro_batch=2"],
    ["hardware.timeout_min=5", "hardware.threads=2", "hardware.tf32=true"],
    ["loop.processes=16"],
    ["hardware.gradient_checkpointing=true", "model.teacher.offload=cpu"],
    ["vocab.chunk=3", "vocab.budget_mib=1", "vocab.compile=false"],
    ["loop.monitor_every=50"],
    ["loop.save_every=7", "loop.keep_checkpoints=5"],
    ["seed=0", "ratio=0.5", "selector=soft_or", "model=tiny"],
    ["optim.weight_decay=0"],
    ["rollout.temperature=1"],
    ["heldout.max_tokens=64"],
    ["model.student.lora.lora_alpha=8", "model.student.lora.target_modules=[q_proj]"],  # of no adapters
]
OTHER = [
    ["seed=1"],
    ["ratio=0.2"],
    ["selector=q3_only"],
    ["selector=entropy_top"],
    ["selector/pick=sample"],
    ["selector.pick.scope=step"],
    ["norm=v1"],
    ["quadrants.entropy_quantile=0.9"],
    ["divergence=jsd"],
    ["divergence=forward_kl"],
    ["optim.lr=2e-3"],
    ["model.student.path=/models/student"],
    ["model.teacher.path=/models/teacher"],
    ["model.student.dtype=bfloat16"],
    ["template@model.template=boxed"],
    ["data.seed=2"],
    ["rollout.temperature=0.5"],
    ["loop.steps=151"],
    ["loop.prompts=32"],
    ["loop.rollouts=2"],
    ["loop.denominator=valid"],
    ["loop.precision=bf16"],
    ["loop.eval_every=0"],
    ["loop.score_from=rollout"],
    ["divergence=topk"],
    ["divergence=topk", "divergence.k=8"],
    ["benchmark.size=256"],
    ["eval.n=8"],
    ["model.student.lora.r=16"],
    ["model.student.lora.r=32"],
    ["model.student.lora.r=16", "model.student.lora.lora_alpha=16"],
    ["model.student.lora.r=16", "model.student.lora.target_modules=[q_proj]"],
    ["model.student.lora.r=16", "model.student.lora.use_rslora=true"],
]


@cache
def run(*overrides: str) -> str:
    return identity(resolve(load(overrides)))


def test_eight_hex_digits() -> None:
    assert re.fullmatch(r"[0-9a-f]{8}", run())


@pytest.mark.parametrize("overrides", SAME, ids=" ".join)
def test_place_name_logging_and_hardware_are_no_part_of_it(overrides: list[str]) -> None:
    assert run(*overrides) == run()


def test_everything_that_changes_a_number_is() -> None:
    found = {tuple(overrides): run(*overrides) for overrides in [[], *OTHER]}
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize("selector", ["full", "q1"])
def test_a_selector_without_a_budget_is_one_run_whatever_the_ratio(selector: str) -> None:
    assert run(f"selector={selector}", "ratio=0.1") == run(f"selector={selector}", "ratio=0.9")
    assert run("ratio=0.1") != run("ratio=0.9")


def test_a_selector_that_does_not_normalise_is_one_run_whatever_the_norm() -> None:
    assert run("selector=entropy_top", "norm=v1") == run("selector=entropy_top")


def test_a_number_is_one_value_however_it_is_written() -> None:
    assert run("ratio=1") == run("ratio=1.0") == run("ratio=1e0")
    assert run("optim.lr=1e-3") == run("optim.lr=0.001")


def test_a_batch_that_is_sampled_ahead_is_another() -> None:
    server = ["rollout=vllm_server"]
    assert run(*server, "rollout.ahead=1") != run(*server) == run(*server, "rollout.ahead=0")


def test_the_order_of_overrides_does_not_matter() -> None:
    assert run("seed=4", "optim.lr=0.5") == run("optim.lr=0.5", "seed=4")


@pytest.mark.parametrize("model", ["tiny", "tiny_agent", "qwen3", "smollm2"])
def test_a_setting_younger_than_many_runs_is_no_part_of_it_while_off(model: str) -> None:
    tree = resolve(load([f"model={model}"]))
    older = tree | {"model": dict(tree["model"])}
    for role in ("teacher", "student"):
        older["model"][role] = {k: v for k, v in tree["model"][role].items() if k != "trust_remote_code"}
        assert older["model"][role] != tree["model"][role]
    assert identity(older) == identity(tree)
    for role in ("teacher", "student"):
        assert run(f"model={model}", f"model.{role}.trust_remote_code=true") != run(f"model={model}")


def stored(name: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((STORED / f"{name}.yaml").read_text())
    return tree


@pytest.mark.parametrize("name", GOLDEN)
def test_a_stored_configuration_is_the_run_it_was(name: str) -> None:
    assert identity(stored(name)) == GOLDEN[name][0]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_same_command_is_the_same_run_today(name: str) -> None:
    assert run(*GOLDEN[name][1]) == GOLDEN[name][0]


def test_every_stored_configuration_has_its_hash() -> None:
    assert {file.stem for file in STORED.iterdir()} == GOLDEN.keys()


def test_the_hash_of_the_first_scheme_stays_too() -> None:
    assert first_identity(stored("2026-11-24-21h-tiny_agent")) == "3d91ebdd"
    assert first_identity(stored("2026-11-29-llama_v1")) == "79738680"


def test_where_a_class_lies_does_not_matter() -> None:
    tree = stored("2026-11-29-topk")
    moved = deepcopy(tree)
    moved["optim"]["_target_"] = "tipx.somewhere.else_now.AdamW"
    assert identity(moved) == identity(tree)
    moved["optim"]["_target_"] = "tipx.train.optim.Muon"
    assert identity(moved) != identity(tree)


def test_of_another_package_the_whole_path_counts() -> None:
    assert class_name({"_target_": "mine.scores.Surprise"}, "") != class_name({"_target_": "mine.other.Surprise"}, "")
    assert class_name({"_target_": "tipx.train.optim.AdamW"}, "") != class_name({"_target_": "mine.optim.AdamW"}, "")


def test_large_seeds_are_not_rounded() -> None:
    assert run("seed=9007199254740993") != run("seed=9007199254740992")


def test_a_number_from_the_environment_is_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEED", "3")
    assert identity(resolve(load(["seed=${oc.env:SEED}"]))) == run("seed=3")


@pytest.mark.parametrize(("one", "other"), [("1e4567", "2e4568"), ("01", "1"), ("1.50", "1.5"), ("12e1", "120")])
def test_revisions_and_folders_that_look_like_numbers_are_told_apart(one: str, other: str) -> None:
    trees = [stored("2026-11-29-topk") for _ in range(2)]
    for tree, revision in zip(trees, (one, other), strict=True):
        tree["model"]["student"]["revision"] = revision
    assert identity(trees[0]) != identity(trees[1])


def test_a_section_counts_when_it_does_something() -> None:
    tree = stored("2026-11-29-topk")
    on = deepcopy(tree)
    on["heldout"] |= {"texts": "file.jsonl", "every": 5}
    other = deepcopy(on)
    other["heldout"]["max_tokens"] = 8
    assert len({identity(tree), identity(on), identity(other)}) == 3
    assert "heldout" not in meaning(tree)


def test_a_benchmark_that_the_guard_is_told_of_counts() -> None:
    assert run("+benchmark@guard.known.mine=math500", "guard.known.mine.name=mine") != run()


def test_declared_keys_are_fields_of_their_classes() -> None:
    assert {Experiment, EvalJob} <= SPECS  # importing them imports what they are made of
    classes = {cls.__name__: {field.name for field in fields(cls)} for cls in SPECS}  # type: ignore[arg-type]
    classes["Experiment"] |= {"runs_dir", "name", "group"}
    classes["ModelSource"] |= classes["Teacher"]
    declared = [*OUTSIDE.items(), *AS_BEFORE.items(), *SWITCHED_OFF.items()]
    for name, keys in declared:
        if "." not in name:
            assert set(keys) <= classes[name], name


def test_a_class_name_says_which_class() -> None:
    names = [cls.__name__ for cls in SPECS if cls.__module__.startswith("tipx.")]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_leads_to_a_class(old: str) -> None:
    assert find_spec(old, "a", {"tipx"}) in SPECS
