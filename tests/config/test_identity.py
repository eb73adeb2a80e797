"""Which run it is: nothing else decides the hash, and nothing that changes a number is left out of it."""

import re
from functools import cache

import pytest

from tipx.config import identity, load, resolved

SAME = [
    ["runs_dir=/elsewhere"],
    ["name=another"],
    ["group=paper"],
    ["logger=wandb"],
    ["hardware=paper"],
    ["hardware.device=cpu", "hardware.micro_batch=2"],
    ["hardware.gradient_checkpointing=true", "model.teacher.offload=cpu"],
    ["vocab.chunk=3", "vocab.budget_mib=1"],
    ["loop.save_every=7", "loop.keep_checkpoints=5"],
    ["seed=0", "ratio=0.5", "selector=soft_or", "model=tiny"],
    ["optim.weight_decay=0"],
    ["rollout.temperature=1"],
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
]


@cache
def run(*overrides: str) -> str:
    return identity(resolved(load(overrides)))


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


def test_the_order_of_overrides_does_not_matter() -> None:
    assert run("seed=4", "optim.lr=0.5") == run("optim.lr=0.5", "seed=4")


@pytest.mark.parametrize("model", ["tiny", "tiny_agent", "qwen3", "smollm2"])
def test_a_setting_younger_than_many_runs_is_no_part_of_it_while_off(model: str) -> None:
    tree = resolved(load([f"model={model}"]))
    older = tree | {"model": dict(tree["model"])}
    for role in ("teacher", "student"):
        older["model"][role] = {k: v for k, v in tree["model"][role].items() if k != "trust_remote_code"}
        assert older["model"][role] != tree["model"][role]
    assert identity(older) == identity(tree)
    for role in ("teacher", "student"):
        assert run(f"model={model}", f"model.{role}.trust_remote_code=true") != run(f"model={model}")
