"""The GPU check finds what is wrong, and its figures come from what was measured. There is no GPU here."""

import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from time import monotonic
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from bench.cases import inputs
from bench.gpu_check import (
    __main__,
    calibration,
    correctness,
    decoding,
    gauge,
    loss,
    pairs,
    report,
    rollouts,
    sections,
    sharded,
    step,
    training_step,
)
from bench.gpu_check.results import Check, Section, Work
from tests.rollout.stand_in import in_its_place
from tipx.divergences import ReverseKL
from tipx.rollout.collect import from_lists
from tipx.vocab import Vocab
from tipx.vocab.fold import OnlineSums
from tipx.vocab.loss import Gradients

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _precision_may_differ_between_tests() -> Iterator[None]:
    """Accelerate keeps its precision for the life of the process, which is one section's elsewhere."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(CPU, True, monotonic() + 600, tmp_path / "section.json", Section("loss"))


def failed(work: Work) -> list[str]:
    return [check.name for check in work.section.checks if not check.passed]


def test_a_check_passes_up_to_its_bound_and_never_with_a_number_that_is_none() -> None:
    assert Check("x", 1.0, 1.0).passed
    assert not Check("x", 1.0001, 1.0).passed
    assert not Check("x", math.nan, 1.0).passed


def test_what_a_section_had_is_there_when_it_is_stopped(work: Work) -> None:
    work.check("x", 2.0, 1.0)
    work.row("times", case="a", s=0.5)
    again = Section.read(work.file)
    assert (again.status, again.why) == ("stopped", "it did not end")
    assert again.checks == work.section.checks
    assert again.tables == {"times": [{"case": "a", "s": 0.5}]}


def test_what_there_is_no_time_for_is_said(work: Work) -> None:
    assert work.has_time(500, "a little")
    assert not work.has_time(601, "a lot")
    work.check("x", 0, 1)
    work.section.close()
    assert report.verdict([work.section]) == (True, ["skipped: loss: a lot (no time)"])


def test_a_section_passes_if_all_of_its_checks_do() -> None:
    good, bad = Section("a", checks=[Check("x", 0, 1)]), Section("b", checks=[Check("x", 0, 1), Check("y", 2, 1)])
    good.close()
    bad.close()
    assert good.status == "passed"
    assert (bad.status, bad.why) == ("failed", "1 of 2 checks failed")
    stopped = Section("c", "stopped", "it took 9 s", checks=[Check("z", 2, 1)])
    skipped = Section("d", "skipped", "3 s are left")
    passed, lines = report.verdict([good, bad, stopped, skipped])
    assert not passed
    assert lines == [
        "skipped: d: 3 s are left",
        "failed: b: y: 2, bound 1",
        "failed: c: z: 2, bound 1",
        "failed: c: it took 9 s",
    ]
    assert report.verdict([good, skipped])[0]
    assert not report.verdict([skipped])[0], "nothing was checked"


def test_the_report_has_units_of_the_device_and_is_json(tmp_path: Path) -> None:
    rows = [{"what": report.PRODUCT, "figure": 2.0}, {"what": "copy", "figure": 30.0}]
    device = Section("calibration", "passed", "", device="a GPU", tables={report.DEVICE: rows})
    times = Section(
        "loss", checks=[Check("x", math.nan, 1)], tables={"times": [{"case": "a|b", "s": 0.5, "MiB": None}]}
    )
    report.write({"driver": "9"}, [device, times], tmp_path)
    text = (tmp_path / "gpu_check.md").read_text()
    assert "| device | a GPU |" in text
    assert "| case | s | TFLOP | GB | MiB |" in text
    assert r"| a\|b | 0.5 | 1 | 15 | - |" in text
    assert "Not all checks passed." in text

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    tree = json.loads((tmp_path / "gpu_check.json").read_text(), parse_constant=refuse)
    assert tree["sections"][1]["checks"] == [{"name": "x", "value": "nan", "bound": 1, "passed": False}]
    assert report.Units.of([times]) is None
    assert "| case | s | MiB |" in report.markdown({}, [times])


def test_units_are_what_was_multiplied_and_moved() -> None:
    assert calibration.product_tflops(1000, 0.002) == pytest.approx(1)
    assert calibration.copy_gbs(1000, 1.0) == pytest.approx(2 * 1000 * 2**20 / 1e9)


def test_calls_take_turns_and_the_least_counts() -> None:
    done: list[str] = []

    def too_large() -> None:
        raise torch.OutOfMemoryError("no")

    calls = {"a": partial(done.append, "a"), "b": too_large, "c": partial(done.append, "c")}
    results = gauge.take_turns(calls, CPU, 2)
    assert done == ["a", "a", "c", "c", "a", "c", "a", "c"]  # tried, measured for its memory, and in rounds
    assert results["b"] is None
    assert gauge.Measured(seconds=[3.0, 1.0, 2.0]).least == 1.0
    assert list(gauge.take_turns(calls, CPU, 2, lambda: False)) == ["a"]


def test_operators_are_counted_and_waits_are_not_known_without_a_gpu() -> None:
    x = torch.ones(4, 4)
    launches = gauge.count_launches(lambda: (x @ x, x @ x, x + 1), CPU)
    assert launches.counts == Counter({"aten::matmul": 2, "aten::add": 1})
    assert launches.total == 3
    assert min(launches.seconds.values()) > 0
    assert gauge.count_synchronisations(lambda: x.sum().item(), CPU) is None


def test_waits_are_counted_by_torchs_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def call() -> None:
        import warnings

        for text in (gauge.SYNCHRONISES, "something else", gauge.SYNCHRONISES):
            warnings.warn(text, stacklevel=1)

    assert gauge.count_synchronisations(call, torch.device("cuda")) == 2
    assert modes == ["warn", "default"]


GPU = torch.device("cuda")


def test_seconds_on_a_gpu_are_between_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            done.append("record")

        def synchronize(self) -> None:
            done.append("wait")

        def elapsed_time(self, _: object) -> float:
            return 1500.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: done.append("wait"))
    assert gauge.time_call(lambda: done.append("call"), GPU) == 1.5
    assert done == ["wait", "record", "call", "record", "wait"]


def test_kernels_of_a_gpu_are_counted_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def event(name: str, device: str, *, annotation: bool = False) -> Any:
        span = SimpleNamespace(elapsed_us=lambda: 5.0)
        kind = SimpleNamespace(name=device)
        return SimpleNamespace(name=name, device_type=kind, is_user_annotation=annotation, time_range=span)

    events = [event("gemm", "CUDA"), event("gemm", "CUDA"), event("aten::mm", "CPU")]
    events.append(event("phase", "CUDA", annotation=True))
    monkeypatch.setattr(gauge, "profile", lambda **_: nullcontext(SimpleNamespace(events=lambda: events)))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    launches = gauge.count_launches(lambda: None, GPU)
    assert launches.counts == {"gemm": 2}
    assert launches.seconds["gemm"] == pytest.approx(1e-5)


def test_peaks_of_a_gpu_are_its_allocators(monkeypatch: pytest.MonkeyPatch) -> None:
    highest = iter([100 * 2**20, 300 * 2**20, 200 * 2**20])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: next(highest))
    meter = gauge.AllocatorMeter(GPU)
    with meter.record():
        for meter.case in ("one", "two", "two"):
            with meter.phase("train"):
                pass
    assert meter.peaks == {("one", "train"): 100 * 2**20, ("two", "train"): 300 * 2**20}


def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(name="H200", total_memory=141 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: found)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(__main__, "driver_version", lambda: None)
    assert sections.describe_device(GPU) == "H200, 141 GiB, capability 9.0, CUDA 12.8"
    about = __main__.describe_machine("cuda", small=False)
    assert (about["driver"], about["torch"]) == ("unknown", torch.__version__)
    assert "driver" not in __main__.describe_machine("cpu", small=True)


def test_the_driver_is_what_nvidia_smi_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for text, version in (("echo 560.35.03; echo 560.35.03", "560.35.03"), ("echo no driver; exit 9", None)):
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        assert __main__.driver_version() == version


def test_a_phase_has_the_peak_of_the_allocator() -> None:
    meter = gauge.AllocatorMeter(CPU)
    with meter.record():
        meter.case = "one"
        with meter.phase("train"):
            kept = torch.ones(2**18)
        meter.case = "two"
        with meter.phase("train"):
            del kept
            torch.ones(2**17)
    assert meter.peaks["one", "train"] == pytest.approx(2**20, rel=0.01)
    assert meter.peaks["two", "train"] == pytest.approx(2**20, rel=0.01)  # it begins with what the first left
    assert meter.read()["time/train_s"] >= 0


@pytest.fixture
def small_engines(monkeypatch: pytest.MonkeyPatch) -> correctness.Sizes:
    sizes = correctness.Sizes(tokens=48, vocab=400, hidden=16, rows=16, divergences=0)
    engines = {"plain, lean": Vocab(chunk=16, budget_mib=1, compile=False)}
    monkeypatch.setattr(correctness, "list_engines", lambda _: engines)
    return sizes


def test_engines_agree_with_plain_autograd(work: Work, small_engines: correctness.Sizes) -> None:
    correctness.compare_engines(work, small_engines)
    assert failed(work) == []
    paths = len(correctness.PATHS) * len(correctness.list_divergences())
    assert len(work.section.checks) == 2 + 2 * 3 * paths  # statistics and paths, in each type


@pytest.mark.parametrize("factor", [1.002, 0.9, -1.0])
def test_a_gradient_of_another_scale_is_found(
    factor: float, work: Work, small_engines: correctness.Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Gradients.scaled_like

    def scale_wrongly(self: Gradients, tensors: Any, scale: torch.Tensor) -> Any:
        return right(self, tensors, scale * factor if tensors[1].dtype is torch.bfloat16 else scale)

    monkeypatch.setattr(Gradients, "scaled_like", scale_wrongly)
    correctness.compare_engines(work, small_engines)
    names = failed(work)
    paths = len(correctness.PATHS) * len(correctness.list_divergences())
    assert sum(name.endswith("bfloat16: gradient's length") for name in names) == paths
    assert not any(name.endswith(": loss") or "float32" in name for name in names)


def test_a_statistic_that_is_another_is_found(
    work: Work, small_engines: correctness.Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correctness, "PATHS", {})
    monkeypatch.setattr(OnlineSums, "entropy_N", property(lambda sums: sums.z_N.log() - sums.own_N / sums.z_N + 2e-3))
    correctness.compare_engines(work, small_engines)
    assert failed(work) == [f"statistics, plain, lean, {name}: nats" for name in ("float32", "bfloat16")]


def test_the_largest_error_is_none_if_one_is() -> None:
    assert correctness.largest([1.0, 3.0, 2.0]) == 3.0
    assert math.isnan(correctness.largest([1.0, math.nan, 2.0]))
    rows: list[Any] = [dict.fromkeys(correctness.ERRORS, error) | {"path": "full", "type": "t"} for error in (1.0, 4.0)]
    assert correctness.worst_rows(rows, "path") == [
        {"path": "full", "type": "t", "cases": 2} | dict.fromkeys(correctness.ERRORS, 4.0)
    ]


def test_a_step_is_compared_by_loss_gradient_and_choice() -> None:
    right = training_step.Step(2.0, torch.tensor([3.0, 4.0]), torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    assert training_step.compare_steps(right, right) == (0, 0, 0, 0)
    other = training_step.Step(1.0, 2 * right.gradient, torch.tensor([[1.0, 0.0, 1.0, 0.0]]))
    assert training_step.compare_steps(other, right) == pytest.approx((0.5, 1.0, 1.0, 0.5))


def test_a_training_step_is_the_cpus(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_step, "SELECTORS", (("soft_or", 0.5),))
    training_step.compare(work)
    assert failed(work) == []
    row_no, row_bf16 = work.section.tables[training_step.TABLE]
    assert row_no["gradient"] == 0
    assert 0 < float(row_bf16["gradient"] or 0) < 0.06


def test_regret_is_what_a_token_is_less_likely_than_the_likeliest() -> None:
    model = pairs.make_model(pairs.small_config("student", 1, 50), torch.float32, CPU, seed=0)
    with torch.no_grad():
        logits_V = model(torch.tensor([[3, 4]])).logits[0, -1]
    best, worst = int(logits_V.argmax()), int(logits_V.argmin())
    greedy, other = (from_lists([[3, 4]], [[token]], ["length"], CPU) for token in (best, worst))
    assert decoding.mean_regret(model, greedy) == 0
    assert decoding.mean_regret(model, other) == pytest.approx(float(logits_V.max() - logits_V.min()))
    assert decoding.share_of_others(other, greedy) == 1
    assert decoding.share_of_others(greedy, greedy) == 0


def test_products_and_bytes_of_a_pass_are_counted() -> None:
    tokens, vocab, hidden = 40, 300, 16
    student, teacher = inputs(tokens, vocab, hidden)
    for key, expected in ((loss.ALL_TOKENS, 1.0), 4), (("tipx, entropy_top", 0.1), 1.4), (("tipx, random", 0.1), 0.4):
        call = loss.step_call(loss.list_steps(tokens)[key], student, teacher, round(tokens * key[1]))
        with loss.count_moved() as moved:
            call()
        assert moved.multiplications / (tokens * vocab * hidden) == pytest.approx(expected), key
        assert moved.kernel_calls > 0
        assert moved.kernel_bytes > 4 * round(tokens * key[1]) * vocab
    left, right = torch.ones(2, 3), torch.ones(3, 5)
    moved = loss.Moved()
    moved.count_product(loss.products.multiply)(left, right, torch.zeros(2, 5))
    assert (moved.multiplications, moved.product_bytes) == (30, 4 * (6 + 15 + 10))
    moved.count_product(loss.products.add_product)(left, right, torch.zeros(2, 5))
    assert moved.product_bytes == 4 * (6 + 15 + 10) + 4 * (6 + 15 + 20)


def test_a_loss_that_is_another_is_found(work: Work) -> None:
    loss.check_losses(work, {(loss.FULL_LOGITS, 1.0): 2.0, (loss.ALL_TOKENS, 1.0): 2.03, ("TRL", 1.0): 2.03}, 8)
    assert failed(work) == ["loss of tipx, full, D = 8, relative error"]


@pytest.mark.slow
def test_the_loss_stage_is_a_row_for_each_way(work: Work) -> None:
    sizes = loss.Sizes(24, 300, (8,), (8,), (1,), (1,), 1)
    student, teacher = inputs(24, 300, 8, dtype=torch.bfloat16)
    loss.compare_implementations(work, sizes, student, teacher)
    loss.try_tiles(work, sizes, student, teacher)
    (times, tiles) = work.section.tables.values()
    assert {(row["implementation"], row["ratio"]) for row in times} >= {("tipx, full", 1.0), ("full logits", 0.1)}
    assert next(row for row in times if row["ratio"] == 1.0)["/ tipx, full"] == 1
    assert {row["rows"] for row in tiles} == {"auto", "8"}
    assert failed(work) == []


@pytest.mark.parametrize("factor", [1.0, 1.02])
def test_a_gradient_that_depends_on_the_tiles_is_found(
    factor: float, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = loss.Sizes(24, 300, (8,), (8,), (1,), (1,), 1)
    right, student_teacher = Gradients.scaled_like, inputs(24, 300, 8, dtype=torch.bfloat16)

    def scale_wrongly(self: Gradients, tensors: Any, scale: torch.Tensor) -> Any:
        return right(self, tensors, scale * next(scales))

    scales = iter([1.0, factor])
    monkeypatch.setattr(Gradients, "scaled_like", scale_wrongly)
    loss.check_gradients(work, sizes, *student_teacher)
    assert (failed(work) == []) == (factor == 1.0)


@pytest.mark.parametrize(("peak", "passes"), [(109, True), (91, True), (111, False), (89, False)])
def test_a_peak_is_held_against_the_prediction(peak: float, passes: bool, work: Work) -> None:
    phases = {"teacher": {"x": 50}, "score": {"x": 80}, "train": {"x": 90}, "optimizer": {"x": 100}}
    prediction: Any = SimpleNamespace(phases=phases, peak=100)
    values = {"score": 1.0, "select": 0.5, "train": 2.0, "loss": 1.0, "norm": 1.0}
    step.report_case(work, "full 1", values, {("full 1", "score"): 80, ("full 1", "train"): peak}, prediction)
    assert (failed(work) == []) == passes
    times, peaks = (rows[0] for rows in work.section.tables.values())
    assert times["s"] == 3.5
    assert peaks["score, off"] == 0
    assert peaks["train, off"] == pytest.approx(peak / 100 - 1)


def test_a_loss_that_is_no_number_is_found(work: Work) -> None:
    prediction: Any = SimpleNamespace(
        phases={name: {"x": 9} for name in ("teacher", "score", "train", "optimizer")}, peak=9
    )
    values = {"score": 1.0, "select": 0.5, "train": 2.0, "loss": math.nan, "norm": 1.0}
    step.report_case(work, "full 1", values, {("full 1", "score"): 9, ("full 1", "train"): 9}, prediction)
    assert failed(work) == ["full 1: loss or gradient that is no number"]


def test_as_many_layers_are_made_as_fit(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def predict(exp: Any, *_: object) -> Any:
        asked.append(json.loads((Path(exp.model.student.path) / "config.json").read_text())["num_hidden_layers"])
        return SimpleNamespace(peak=100.0 * asked[-1])

    monkeypatch.setattr(step, "predict", predict)
    monkeypatch.setattr(step, "free_bytes", lambda _: 500.0)
    sizes = step.Sizes(step.SMALL.shape, (6, 5, 4, 3), 1, checkpointing=False, cases=step.CASES[:1])
    plan = step.plan_depth(work, sizes, tmp_path)
    assert plan is not None
    assert plan.layers == 4  # 85 % of the room
    assert asked[-1] == 4
    monkeypatch.setattr(step, "free_bytes", lambda _: 5.0)
    assert step.plan_depth(work, sizes, tmp_path) is None
    assert "not one layer fits" in work.section.left_out[0]


def test_real_widths_are_those_of_the_real_models() -> None:
    teacher, student = (pairs.wide_config(role, 3) for role in ("teacher", "student"))
    assert (teacher.hidden_size, teacher.num_hidden_layers, teacher.tie_word_embeddings) == (4096, 3, False)
    assert (student.hidden_size, student.num_hidden_layers, student.tie_word_embeddings) == (2560, 3, True)
    assert max(step.DEPTHS) == 36


def test_a_gap_is_a_mean_distance() -> None:
    assert rollouts.mean_gap(torch.tensor([-1.0, -2.0]), torch.tensor([-2.0, -1.0])) == 1


def test_vllm_is_measured_where_it_is_installed(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = rollouts.SMALL
    config = pairs.small_config("student", sizes.layers, sizes.vocab)
    model = pairs.make_model(config, torch.float32, CPU, seed=1)
    prompts = decoding.make_prompts(sizes.vocab, sizes.rows, sizes.prompt)
    sampler = rollouts.Sampler(model, decoding.make_tokenizer(sizes.vocab), prompts)
    with in_its_place(monkeypatch):
        rollouts.sample_with_vllm(work, sizes, sampler)
    (row,) = work.section.tables[rollouts.TABLE]
    assert (row["by"], row["tokens"]) == ("vllm", sizes.rows * sizes.response)
    assert 0 <= float(row["logprob_gap"] or 0) < 1e-4
    assert [check.name.split(":")[0] for check in work.section.checks] == ["vLLM", "vLLM"]
    assert failed(work) == []


def test_a_sampler_of_other_probabilities_is_found(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, right = rollouts.SMALL, rollouts.logprobs_of_states
    config = pairs.small_config("student", sizes.layers, sizes.vocab)
    prompts = decoding.make_prompts(sizes.vocab, sizes.rows, sizes.prompt)
    model = pairs.make_model(config, torch.bfloat16, CPU, seed=1)
    sampler = rollouts.Sampler(model, decoding.make_tokenizer(sizes.vocab), prompts)
    rollouts.sample_with_transformers(work, sizes, sampler)
    assert failed(work) == []
    assert {row["by"] for row in work.section.tables[rollouts.TABLE]} == {"tipx", "generate"}
    monkeypatch.setattr(rollouts, "logprobs_of_states", lambda *given: right(*given) + 0.2)
    rollouts.sample_with_transformers(work, sizes, sampler)
    assert failed(work) == ["transformers: log-probability gap, nats"]


def test_sharded_steps_stand_beside_plain_ones(work: Work) -> None:
    plain = [sharded.Turn(2.0, 10.0, 1.0, 0.5), sharded.Turn(1.0, 12.0, 1.0, 0.5)]
    others = [sharded.Turn(3.0, 6.0, 1.01, 0.5), sharded.Turn(4.0, 6.0, 1.03, 0.5)]
    sharded.report_turns(work, {"plain": plain, "fsdp, layers in float32": others, "none": []})
    assert [row["time / plain"] for row in work.section.tables[sharded.WIDE]] == [1, 3]
    assert [row["peak / plain"] for row in work.section.tables[sharded.WIDE]] == [1, 0.5]
    assert failed(work) == ["wide pair, fsdp, layers in float32: loss against plain"]


def test_a_section_that_raises_is_one_line_and_keeps_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module: Any = ModuleType("bench.gpu_check.broken")

    def run(work: Work) -> None:
        work.say("hello")
        work.check("x", 0, 1)
        raise ValueError("first line\nsecond line")

    module.run = run
    monkeypatch.setitem(sys.modules, module.__name__, module)
    sections.run_section("broken", "cpu", small=True, seconds=9, file=tmp_path / "broken.json")
    section = Section.read(tmp_path / "broken.json")
    assert (section.status, section.why) == ("stopped", "ValueError: first line")
    assert len(section.checks) == 1
    assert capsys.readouterr().out == "says: hello\n"


def start(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["gpu_check", *words])
    return __main__.main()


def test_wrong_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert start(monkeypatch, "--out", str(tmp_path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected a GPU" in line
    assert "--device cpu --small" in line
    (tmp_path / "file").touch()
    assert start(monkeypatch, "--device", "cpu", "--out", str(tmp_path / "file")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected a folder that can be written to" in line
    with pytest.raises(SystemExit, match="2"):
        start(monkeypatch, "--device", "cpu", "--minutes", "0")


def test_what_does_not_fit_into_the_budget_is_skipped_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, given = SimpleNamespace(now=0.0), list[float]()
    monkeypatch.setattr(__main__, "monotonic", lambda: clock.now)

    def start_section(name: str, *_: object, seconds: float, **__: object) -> Section:
        given.append(seconds)
        clock.now += 40
        return Section(name, "passed", "", checks=[Check("x", 0, 1)])

    monkeypatch.setattr(__main__, "start_section", start_section)
    words = ["--device", "cpu", "--small", "--minutes", "2", "--out", str(tmp_path)]
    assert start(monkeypatch, *words) == 0
    said = capsys.readouterr().err
    assert "skipped: loss: 40 s of 2 minutes are left, and it takes 45 or more" in said
    assert "skipped: step: 40 s" in said
    assert "all checks passed" in said
    assert given == [15, 45, 24 + 6]  # a share of what is left, and no less than it takes
    statuses = [section["status"] for section in json.loads((tmp_path / "gpu_check.json").read_text())["sections"]]
    assert statuses == ["passed", "passed", "skipped", "skipped", "passed", "skipped"]


def test_checks_that_failed_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = Section("step", "failed", "1 of 1 checks failed", checks=[Check("peak", 0.2, 0.1)])
    monkeypatch.setattr(__main__, "start_section", lambda *_, **__: wrong)
    assert start(monkeypatch, "--device", "cpu", "--only", "step", "--out", str(tmp_path)) == 1
    assert "failed: step: peak: 0.2, bound 0.1" in capsys.readouterr().err


def test_a_folder_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(__main__, "strftime", lambda *_: "now")
    first = __main__.new_folder()
    first.mkdir()
    assert (str(first), str(__main__.new_folder())) == ("gpu-check-now", "gpu-check-now-2")


def test_every_section_is_a_module() -> None:
    assert ReverseKL() == correctness.list_divergences()["reverse KL"]
    for name in sections.SECTIONS:
        assert callable(sys.modules[f"bench.gpu_check.{name}"].run), name


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_script_runs_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(monkeypatch, "--device", "cpu", "--small", "--minutes", "14", "--out", str(tmp_path)) == 0
    tree = json.loads((tmp_path / "gpu_check.json").read_text())
    assert {section["name"]: section["status"] for section in tree["sections"]} == dict.fromkeys(
        sections.SECTIONS, "passed"
    )
    assert all(section["checks"] for section in tree["sections"])
    assert not list(tmp_path.glob("*.tmp"))
    assert "TFLOP" in (tmp_path / "gpu_check.md").read_text()


@pytest.mark.slow
def test_a_section_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "GRACE_S", 0.5)
    section = sections.start_section("correctness", "cpu", small=True, seconds=0, out=tmp_path, tell=lambda _: None)
    assert (section.status, section.why) == ("stopped", "stopped after 0 s")
