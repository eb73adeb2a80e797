"""The checks of memory and time of `tipx preflight`: what is predicted, and what would be better."""

import os
from dataclasses import replace
from typing import Any

import pytest

from tipx.config import build, load
from tipx.memory import Layout, finding, predict_memory
from tipx.memory.devices import find_device
from tipx.memory.finding import Target, find_larger_batch, find_target, memory_finding, time_finding

pytestmark = pytest.mark.long(40)

GIB = 2**30
SHORT = ("rollout.max_new_tokens=256", "loop.max_prompt_tokens=128")


@pytest.mark.parametrize(("share", "level"), [(1.01, "ok"), (0.99, "warning"), (0.8, "error")])
def test_the_peak_is_held_against_the_machine(share: float, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = build(load(["hardware.device=cpu"]))
    peak = predict_memory(exp, Layout(device="cpu")).peak
    there = {"SC_PHYS_PAGES": round(peak * share), "SC_PAGE_SIZE": 1}
    monkeypatch.setattr(os, "sysconf", there.__getitem__)
    found = memory_finding(exp)
    assert (found.check, found.level) == ("memory", level)
    assert found.text.startswith(f"predicted peak {peak / GIB:.3g} GiB (")
    assert ("it fits (" in found.text) == ("with hardware.micro_batch=8" in found.text) == (level != "ok")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an H100."""
    monkeypatch.setattr(finding, "runs_on_gpu", lambda _: True)
    monkeypatch.setattr(finding, "device_memory", lambda _: 80 * GIB)
    monkeypatch.setattr(finding, "find_own_device", lambda **_: find_device("h100"))


def of(*words: str) -> Any:
    return build(load(["model=qwen3", *words]))


@pytest.mark.slow
@pytest.mark.usefixtures("gpu")
def test_a_choice_that_costs_days_is_named_with_a_better_one() -> None:
    found = time_finding(of())
    assert (found.check, found.level) == ("time", "warning")
    assert "days for 500 steps" in found.text
    assert "rollout=vllm would save about" in found.text
    assert time_finding(of("rollout=vllm")).level == "ok"


@pytest.mark.usefixtures("gpu")
def test_evaluations_that_take_days_are_named() -> None:
    found = time_finding(build(load(["model=tiny", "eval.n=10000", "eval.sampling.max_new_tokens=4096"])))
    assert "loop.eval_every=0 loop.eval_last=true would save about" in found.text


def target(memory_gib: float, processes: int = 1) -> Target:
    return Target("h100", "cuda", round(memory_gib * GIB), processes)


def test_the_nearest_layout_is_named_and_fits() -> None:
    exp = build(load(["hardware.micro_batch=16", "rollout.batch_size=16"]))
    prediction = predict_memory(exp, Layout())
    two = replace(exp, hardware=replace(exp.hardware, micro_batch=2))
    found = memory_finding(exp, target(predict_memory(two, Layout()).peak / GIB))
    assert found.level == "error"
    assert found.text.startswith(f"predicted peak {prediction.peak / GIB:.3g} GiB (train); h100 has")
    assert found.text.endswith("with hardware.micro_batch=2")


@pytest.mark.slow
def test_processes_share_a_model_that_one_cannot_hold() -> None:
    alone = ["model=llama", "hardware=paper", "loop.processes=null"]
    exp = build(load(alone))
    found, several = memory_finding(exp, target(139)), memory_finding(exp, target(139, 8))
    assert found.text.endswith(
        "no layout of one process fits; start several (loop.processes), or take a smaller student"
    )
    assert several.text.endswith("with loop.processes=8 hardware.strategy=fsdp")
    words = several.text.partition(" with ")[2].split()
    assert (
        memory_finding(build(load(["model=llama", "hardware=paper", "loop.processes=null", *words])), target(139)).level
        == "ok"
    )
    none = memory_finding(exp, target(8, 8))
    assert none.text.endswith("no layout of 8 processes fits; start more (loop.processes), or take a smaller student")


def test_processes_of_a_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "device_memory", lambda _: 8 * GIB)
    exp = build(load(["hardware.device=cpu", "loop.processes=4"]))
    assert find_target(exp, None, "", None) == Target("a process of this machine", "cpu", 2 * GIB, 4)
    on_h100 = find_target(exp, find_device("h100"), "h100", None)
    assert on_h100 == Target("h100", "cuda", 79 * GIB, 4)


@pytest.mark.slow
@pytest.mark.usefixtures("gpu")
def test_a_larger_batch_is_one_that_fits() -> None:
    exp, layout = of(*SHORT, "rollout.batch_size=4"), Layout(device="cuda")
    assert find_larger_batch(exp, layout, 300 * GIB) == 128
    peak = sum(predict_memory(of(*SHORT, "rollout.batch_size=8"), layout).phases["rollout"].values())
    assert find_larger_batch(exp, layout, peak) == 8


def test_a_short_run_is_short() -> None:
    found = time_finding(build(load(["hardware.device=cpu", "loop.steps=2", "loop.eval_every=0"])))
    assert found.level == "ok"
    assert found.text.endswith("evaluations none (measured here, 1 threads)")


@pytest.mark.parametrize(("hours", "text"), [(0.01, "36 s"), (0.5, "30 min"), (7.25, "7.2 h"), (240, "10 days")])
def test_hours_are_told_in_a_unit_that_fits(hours: float, text: str) -> None:
    assert finding.format_hours(hours) == text
