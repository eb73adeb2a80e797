"""What a prediction of time must not get wrong: an operator's cost, depth, rollouts, and what a run measured."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.memory.worlds import Small
from tipx.config import build, load
from tipx.memory import devices
from tipx.memory.costs import CostTracker, OperatorCost
from tipx.memory.devices import DeviceSpec, find_device
from tipx.memory.duration import RunTime, TimeCase, TimedStep, predict_time
from tipx.memory.layout import Layout
from tipx.models.head import gradient_checkpointing

pytestmark = pytest.mark.long(20)

UNIT = DeviceSpec(
    kind="cpu",
    gpu=None,
    fp32_tflops=1e-12,
    bf16_tflops=1e-12,
    memory_gib=1,
    bandwidth_gbs=1e12,
    operator_us=0,
    efficiency=1,
    source="one multiplication or addition a second, and bytes for nothing",
)
ROTATION = 1e-4
"""Relative: what the angles of positions cost, which transformers before 5.19 multiplies once a row."""


def case(small: Small, device: DeviceSpec = UNIT) -> TimeCase:
    memory = small.case()
    return TimeCase(memory.exp, device, memory.sizes, memory.teacher, memory.student)


def costs(call: Callable[[], Any]) -> list[OperatorCost]:
    tracker = CostTracker()
    with tracker:
        tracker.begin("here", "activations")
        call()
    return [cost for cost, count in tracker.costs["here"].items() for _ in range(count)]


A, B = torch.ones(3, 5), torch.ones(5, 7)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: A @ B, OperatorCost(half=False, flops=2 * 3 * 5 * 7, bytes=4 * (15 + 35 + 21))),
        (lambda: A.bfloat16() @ B.bfloat16(), OperatorCost(half=True, flops=210, bytes=2 * (15 + 35 + 21))),
        (lambda: torch.mm(A, B, out=torch.empty(3, 7)), OperatorCost(half=False, flops=210, bytes=4 * (15 + 35 + 21))),
        (lambda: torch.ones(3, 7).addmm_(A, B), OperatorCost(half=False, flops=210, bytes=4 * (21 + 15 + 35 + 21))),
        (A.exp, OperatorCost(half=False, flops=0, bytes=4 * 30)),
        (lambda: A.T, OperatorCost(half=False, flops=0, bytes=0)),
        (lambda: B[torch.tensor([1, 2])], OperatorCost(half=False, flops=0, bytes=4 * 28)),
    ],
)
def test_an_operator_costs_its_products_and_its_bytes(call: Callable[[], Tensor], expected: OperatorCost) -> None:
    assert costs(call)[-1] == expected


def test_attention_is_two_products_forward_and_five_backward() -> None:
    query, key = (torch.ones(1, 2, length, 4, requires_grad=True) for length in (3, 6))

    def attend() -> None:
        torch.nn.functional.scaled_dot_product_attention(query, key, key).sum().backward()

    product = 2 * 2 * 3 * 6 * 4
    assert sorted(cost.flops for cost in costs(attend) if cost.flops) == [2 * product, 5 * product]


def test_an_operator_takes_the_longer_of_both_and_a_gpu_hides_the_shorter() -> None:
    device = replace(UNIT, fp32_tflops=2e-12, bandwidth_gbs=1e-9, operator_us=1e6, efficiency=0.5)
    assert OperatorCost(half=False, flops=10, bytes=3).seconds(device) == pytest.approx(10)
    assert OperatorCost(half=False, flops=2, bytes=3).seconds(device) == pytest.approx(6)
    # The host starts operators in turn with their work on a CPU, and ahead of it on a GPU.
    cpu, gpu, free = (
        case(Small(layers=2), replace(UNIT, operator_us=us, kind=kind)).eager_tokens(Small().case().sizes)[0]
        for kind, us in (("cpu", 1e10), ("cuda", 1e10), ("cpu", 0))
    )
    assert cpu > free > 0
    assert gpu == pytest.approx(max(free, cpu - free))


def test_six_layers_are_on_the_line_through_two_and_four() -> None:
    timed = case(Small(checkpointing=True), replace(UNIT, bandwidth_gbs=1e-9, operator_us=1))

    def train(step: TimedStep) -> None:
        with gradient_checkpointing(step.student, True):
            step.train()
        step.update()

    straight = timed.whole(timed.sizes, train)
    tracker = timed.traced(7, timed.sizes, train)[1]
    for section, seconds in straight.items():
        assert seconds == pytest.approx(sum(tracker.seconds(section, timed.device)), rel=1e-3), section


@pytest.mark.slow
def test_scoring_both_models_is_a_head_product_of_each() -> None:
    small = Small(vocab=8192)
    tokens, vocab = small.sequences * small.tokens, 8192
    parts = case(small).training_parts()
    assert parts["head scores"] == pytest.approx(2 * tokens * vocab * (64 + 96), rel=1e-3)
    # Half of the tokens are trained on, and a micro-batch takes as long as the others.
    assert parts["head loss"] > 0.3 * parts["head scores"]
    assert case(replace(small, sequences=8)).training_parts()["student"] == pytest.approx(2 * parts["student"])


@pytest.mark.slow
def test_a_step_that_is_not_monitored_scores_only_what_its_rule_needs() -> None:
    def head_scores(every: int) -> float:
        exp = build(load(["selector=random", f"loop.monitor_every={every}", "loop.prompts=2"]))
        return predict_time(exp, Layout(tokens=4, prompt_tokens=8), UNIT).parts["head scores"]

    assert head_scores(0) == pytest.approx(0, abs=1e-9)
    assert head_scores(4) == pytest.approx(head_scores(1) / 4)


def test_a_server_reads_weights_and_cache_once_a_token() -> None:
    small = Small(layers=6)
    timed = case(small, replace(UNIT, bandwidth_gbs=1e-9, bf16_tflops=1e9))  # a byte a second
    with torch.device("meta"):
        weights = sum(p.numel() for p in student_model(small).parameters())
    kept = 2 * 6 * 2 * 32  # keys and values of six layers, two heads, 32 dimensions
    at = small.prompt + small.tokens / 2
    prefill, decode = timed.server_tokens(timed.sizes)
    assert decode == pytest.approx(small.tokens * 2 * (weights + kept * small.sequences * at), rel=1e-6)
    assert prefill == pytest.approx(2 * weights)


def student_model(small: Small) -> torch.nn.Module:
    return AutoModelForCausalLM.from_config(small.student)


def test_batches_are_sampled_one_after_another() -> None:
    small = Small(sequences=4)
    timed = case(small)
    half = replace(timed.sizes, rollout_batch=2)
    both, one = (timed.rollout_parts(timed.exp.rollout, sizes) for sizes in (timed.sizes, half))
    assert one["prefill"] == pytest.approx(both["prefill"], rel=ROTATION)
    assert timed.rollout_parts(timed.exp.rollout, replace(half, sequences=5))["decode"] == pytest.approx(
        1.5 * one["decode"], rel=ROTATION
    )


@pytest.mark.slow
def test_the_whole_run_is_its_steps_and_evaluations() -> None:
    exp = build(load(["loop.steps=100", "loop.eval_every=50", "eval.n=1", "eval.greedy=false", "eval.limit=10"]))
    time = predict_time(exp, Layout(tokens=8, prompt_tokens=8), UNIT)
    assert (time.steps, time.evaluations) == (100, 3)  # before training, at half, at the end
    assert time.run_h == pytest.approx((100 * time.step_s + 3 * time.evaluation_s) / 3600)
    twice = build(load(["loop.steps=100", "loop.eval_every=50", "eval.n=1", "eval.greedy=true", "eval.limit=10"]))
    longer = predict_time(twice, Layout(tokens=8, prompt_tokens=8), UNIT).evaluation_s
    assert longer == pytest.approx(2 * time.evaluation_s, rel=ROTATION)  # one batch takes as long as its rows


def test_measured_steps_correct_the_prediction() -> None:
    names = ("prefill", "decode", "teacher", "student", "head scores", "forward", "head loss", "backward", "optimizer")
    time = RunTime(dict.fromkeys(names, 1.0), 10, 5.0, 2)
    rows = [{"step": step, "time/rollout_s": seconds} for step, seconds in ((0, 9), (1, 99), (2, 3), (3, 5))]
    corrected = time.correct([*rows, {"step": 4, "time/eval_s": 7.0}])
    assert (corrected.phase("rollout"), corrected.phase("score"), corrected.evaluation_s) == (4, 3, 7)
    assert corrected.parts["decode"] == 2
    assert time.correct([]) == time


def test_a_device_is_of_the_table_of_settings_or_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_device("h100", ["h100.efficiency=0.25"]).efficiency == 0.25
    assert find_device("a100").bf16_tflops == 312
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert devices.find_own_device(gpu=True) == find_device("h200")
    here = devices.find_own_device(gpu=False)
    assert here.kind == "cpu"
    assert 1e-4 < here.fp32_tflops < 1e3
    assert 0.1 < here.operator_us < 1e4
