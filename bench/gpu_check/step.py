"""Whole training steps at the widths of Qwen3-8B and 4B, with random weights: seconds by phase, and predicted memory.

There are as many layers as fit by the prediction, at most the real models'. Responses are there already, so that a step
is scoring, selection and update, by the loop's own code. What `tipx memory` predicts is held against the peak of
torch's allocator.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from transformers import PretrainedConfig

from bench.gpu_check.gauge import AllocatorMeter
from bench.gpu_check.pairs import Shape, build_experiment, make_pair, save_configs, small_config, wide_config
from bench.gpu_check.results import Work
from bench.step import SampledSession, open_session
from tipx.memory import Layout, Prediction, predict_memory
from tipx.runs.metric_keys import GRAD_NORM, LOSS, TIME
from tipx.train.experiment import Experiment
from tipx.train.loop import one_step
from tipx.train.trainer import Trainer
from tipx.types import Rollout

GIB = 2**30
CASES = (("full", 1.0), ("soft_or", 0.5), ("soft_or", 0.2), ("soft_or", 0.1), ("entropy_top", 0.1), ("random", 0.1))
FIRST = "full 1"
PHASES = ("score", "select", "train")
MEASURED_AS = {"score": ("teacher", "score"), "train": ("train", "optimizer")}
"""Phases of a step as the loop meters them, and as they are predicted."""
TOLERANCE = 0.1
ROOM = 0.85
"""Share of the free memory that a prediction may take."""
DEPTHS = (36, 32, 28, 24, 20, 16, 12, 10, 8, 6, 5, 4, 3, 2, 1)


@dataclass(frozen=True)
class Sizes:
    """The step, and the depths that are tried, the deepest first."""

    shape: Shape
    depths: Sequence[int]
    rounds: int
    checkpointing: bool
    cases: Sequence[tuple[str, float]] = CASES


FULL = Sizes(Shape(sequences=4, prompt=256, response=2048, micro_batch=1), DEPTHS, 2, checkpointing=True)
SMALL = Sizes(Shape(sequences=2, prompt=64, response=40, micro_batch=1), (6,), 1, checkpointing=False)


@dataclass(frozen=True)
class Plan:
    """What is run: layers, and by case the run's configuration and its predicted memory."""

    layers: int
    experiments: dict[str, Experiment]
    predictions: dict[str, Prediction]


def run(work: Work) -> None:
    """Find the depth, build, and let the cases take turns."""
    sizes, device = SMALL if work.small else FULL, work.device
    with TemporaryDirectory() as name:
        work.say("how many layers fit")
        plan = plan_depth(work, sizes, Path(name))
    if plan is None:
        return
    meter = AllocatorMeter(device)
    with meter.record():
        session = prepare(work, sizes, plan, meter)
        results = take_steps(work, sizes, session, meter, plan.experiments)
    for case, values in results.items():
        report_case(work, case, values, meter.peaks, plan.predictions[case])


def case_name(selector: str, ratio: float) -> str:
    return f"{selector} {ratio:g}"


def free_bytes(device: torch.device) -> float:
    """Of the device; of a CPU without bound, since only small models are made there."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")


def plan_depth(work: Work, sizes: Sizes, folder: Path, share: float = ROOM) -> Plan | None:
    """The largest depth that fits into this share of the free memory; None where none does."""
    room = share * free_bytes(work.device)
    first = replace(sizes, cases=sizes.cases[:1])

    def fits(layers: int) -> bool:
        (exp,) = build_cases(work, first, layers, folder).values()
        return predict(exp, sizes, work.device).peak <= room

    place = bisect_left(sizes.depths, x=True, key=fits)
    if place == len(sizes.depths):
        work.leave_out(f"whole steps (not one layer fits into {room / GIB:.1f} GiB)")
        return None
    layers = sizes.depths[place]
    work.note(f"layers: {layers}" + ("" if work.small else f" of {max(DEPTHS)}"))
    experiments = build_cases(work, sizes, layers, folder)
    return Plan(layers, experiments, {case: predict(exp, sizes, work.device) for case, exp in experiments.items()})


def build_cases(work: Work, sizes: Sizes, layers: int, folder: Path) -> dict[str, Experiment]:
    """By case: the configuration of a run at this depth."""
    words = [*name_models(work, layers, folder), f"hardware.gradient_checkpointing={sizes.checkpointing}"]
    return {
        case_name(selector, ratio): build_experiment(
            sizes.shape, work.device, *words, f"selector={selector}", f"ratio={ratio}"
        )
        for selector, ratio in sizes.cases
    }


def config_of(work: Work, role: str, layers: int) -> PretrainedConfig:
    return small_config(role, layers) if work.small else wide_config(role, layers)


def name_models(work: Work, layers: int, folder: Path) -> list[str]:
    """Overrides for a pair of this depth: the teacher in bfloat16, the student's own weights in fp32."""
    words = save_configs({role: config_of(work, role, layers) for role in ("teacher", "student")}, folder)
    return [*words, "model.teacher.dtype=bfloat16", "model.student.dtype=float32"]


def predict(exp: Experiment, sizes: Sizes, device: torch.device) -> Prediction:
    """What `tipx memory --no-rollout` says of it."""
    kind: Literal["cuda", "cpu"] = "cpu" if device.type == "cpu" else "cuda"
    shape = sizes.shape
    return predict_memory(exp, Layout(tokens=shape.response, prompt_tokens=shape.prompt, device=kind, rollout=False))


def prepare(work: Work, sizes: Sizes, plan: Plan, meter: AllocatorMeter) -> SampledSession:
    """Models, and the optimizer's state, which a step of two tokens makes."""
    work.say("models and optimizer")
    exp = plan.experiments[FIRST]
    world = exp.hardware.start(exp.loop.precision)
    pair = make_pair(
        {role: config_of(work, role, plan.layers) for role in ("teacher", "student")},
        {"teacher": getattr(torch, exp.model.teacher.dtype), "student": getattr(torch, exp.model.student.dtype)},
        work.device,
    )
    session = open_session(Trainer(exp, pair, world))
    session.meter = meter
    session.made = replace(sizes.shape, prompt=4, response=2).make_rollout(pair.rows, work.device)
    one_step(session, 1)
    return session


def take_steps(
    work: Work, sizes: Sizes, session: SampledSession, meter: AllocatorMeter, experiments: dict[str, Experiment]
) -> dict[str, dict[str, float]]:
    """The least seconds of each phase over the rounds, in which all cases take turns, with the last loss and norm."""
    rollout: Rollout = sizes.shape.make_rollout(session.pair.rows, work.device)
    results: dict[str, dict[str, float]] = {}
    for number in range(sizes.rounds + 1):  # the first compiles, and is not counted
        for case, exp in experiments.items():
            if not work.has_time(15, f"{case}, round {number}"):
                return results
            work.say(f"{case}, {'first' if number == 0 else f'round {number}'}")
            session.exp = session.trainer.exp = exp
            meter.case = case
            session.made = rollout
            row = one_step(session, 2 + number)
            values = meter.read()
            seconds = {phase: values[TIME.of(phase)] for phase in PHASES}
            least = results.get(case, {})
            if number > 1:
                seconds = {phase: min(least[phase], seconds[phase]) for phase in PHASES}
            results[case] = seconds | {"loss": row[LOSS], "norm": row[GRAD_NORM]}
    return results


def report_case(
    work: Work,
    case: str,
    values: dict[str, float],
    peaks: dict[tuple[str, str], float],
    prediction: Prediction,
) -> None:
    """Seconds by phase, and measured beside predicted peaks, of which the highest is checked."""
    predicted = {name: sum(parts.values()) for name, parts in prediction.phases.items()}
    measured = {name: peaks[case, name] for name in MEASURED_AS}
    off = {name: measured[name] / max(predicted[phase] for phase in MEASURED_AS[name]) - 1 for name in measured}
    overall = deviation(max(measured.values()), prediction.peak)
    work.row(
        "A whole step: seconds",
        case=case,
        s=sum(values[phase] for phase in PHASES),
        **{f"{phase} s": values[phase] for phase in PHASES},
        loss=values["loss"],
        grad_norm=values["norm"],
    )
    work.row(
        "A whole step: peak of the allocator, GiB",
        case=case,
        peak=max(measured.values()) / GIB,
        predicted=prediction.peak / GIB,
        off=overall,
        **{f"{name}, off": share for name, share in off.items()},
    )
    work.check(f"{case}: peak against the prediction, share", abs(overall), TOLERANCE)
    finite = torch.isfinite(torch.tensor([values["loss"], values["norm"]])).all()
    work.check(f"{case}: loss or gradient that is no number", float(not finite), 0.0)


def deviation(measured: float, predicted: float) -> float:
    """Of what was measured from what was predicted: above 0 where more was needed."""
    return measured / predicted - 1
