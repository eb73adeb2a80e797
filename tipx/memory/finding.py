"""Whether a step will fit the device, and how long the run will take, as checks before the first step."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from tipx.errors import ModelError
from tipx.memory.devices import GIB, DeviceSpec, device_memory, find_own_device
from tipx.memory.duration import HOUR, RunTime, predict_server_rollout, predict_time
from tipx.memory.layout import Layout
from tipx.memory.nearest import find_nearest
from tipx.memory.predict import predict_memory
from tipx.rollout.hf import HFRollouts
from tipx.train.experiment import Experiment
from tipx.train.preflight import Finding, Level

CLEARLY = 1.1
"""Predictions are within 10 % of what was measured: beyond this share of the memory a run does not fit."""
DAY_H = 24.0
"""What a choice has to cost before a better one is named, hours."""
SPARSE = 10
"""The `loop.monitor_every` that is compared with a smaller one."""


@dataclass(frozen=True)
class Target:
    """Where a run is to fit: a device's name, kind and bytes of memory for each of `processes`."""

    name: str
    kind: Literal["cuda", "cpu"]
    memory: int
    processes: int


def runs_on_gpu(exp: Experiment) -> bool:
    """Whether the run would take this machine's GPU."""
    return exp.hardware.device == "auto" and torch.cuda.is_available()


def find_target(exp: Experiment, device: DeviceSpec | None, name: str, processes: int | None) -> Target:
    """A device of the table, or this machine with the processes that there would be: those asked for, or its GPUs."""
    kind: Literal["cuda", "cpu"] = "cuda" if runs_on_gpu(exp) else "cpu"
    asked = processes or exp.loop.processes
    if device is not None:
        return Target(name, device.kind, round(device.memory_gib * GIB), asked or 1)
    there = asked or (torch.cuda.device_count() if kind == "cuda" else 1)
    if kind == "cuda":
        return Target("the GPU", kind, device_memory(kind), there)
    return Target(
        "this machine" if there == 1 else "a process of this machine", kind, device_memory(kind) // there, there
    )


def memory_finding(exp: Experiment, target: Target | None = None) -> Finding:
    """The predicted peak of one process at the lengths' limits, against what its device has.

    An error, if it is clearly too much. Then the nearest layout is named that fits.
    """
    target = target or find_target(exp, None, "", None)
    started = exp.loop.processes or 1
    layout = Layout(device=target.kind, memory=target.memory, processes=started)
    try:
        prediction = predict_memory(exp, layout)
        text = f"predicted peak {prediction.peak / GIB:.3g} GiB ({prediction.highest}) of each process"
        text = text if started > 1 else text.removesuffix(" of each process")
        text += f"; {target.name} has {target.memory / GIB:.3g}"
        if prediction.peak <= target.memory:
            return Finding("memory", "ok", text)
        several = target.processes if exp.loop.sequences % target.processes == 0 else started
        remedy = name_remedy(exp, replace(layout, processes=several), target, started)
    except ModelError as error:
        return Finding("memory", "warning", f"it cannot be predicted: {error}")
    level: Level = "error" if prediction.peak > CLEARLY * target.memory else "warning"
    return Finding("memory", level, f"{text}; {remedy}")


def name_remedy(exp: Experiment, layout: Layout, target: Target, started: int) -> str:
    """What to type so that the run fits, or that nothing of the kind makes it fit."""
    nearest = find_nearest(exp, layout, target.memory)
    if nearest is None:
        if layout.processes == 1:
            return "no layout of one process fits; start several (loop.processes), or take a smaller student"
        return f"no layout of {layout.processes} processes fits; start more (loop.processes), or take a smaller student"
    words, prediction = nearest
    words = [f"loop.processes={layout.processes}", *words] if layout.processes != started else words
    return f"it fits ({prediction.peak / GIB:.3g} GiB) with {' '.join(words)}"


def time_finding(exp: Experiment, device: DeviceSpec | None = None) -> Finding:
    """How long the run will take on its device, and what would save the most if that is days."""
    device = device or find_own_device(gpu=runs_on_gpu(exp))
    layout = Layout(device=device.kind)
    try:
        time = predict_time(exp, layout, device)
    except ModelError as error:
        return Finding("time", "warning", f"it cannot be predicted: {error}")
    text = f"predicted {format_hours(time.run_h)} for {time.steps} steps, if responses are as long as they may be: "
    text += f"{time.step_s:.3g} s a step, {time.phase('rollout') / time.step_s:.0%} of it rollouts; "
    evaluations = "not counted" if time.evaluation_s is None else format_hours(time.evaluations_h)
    text += f"evaluations {evaluations if time.evaluations else 'none'} ({device.source})"
    savings = list(find_savings(exp, layout, device, time)) if time.run_h > DAY_H else []
    choice, hours = max(savings, key=lambda saving: saving[1], default=("", 0.0))
    if hours < DAY_H:
        return Finding("time", "ok", text)
    return Finding("time", "warning", f"{text}; {choice} would save about {format_hours(hours)}")


def find_savings(exp: Experiment, layout: Layout, device: DeviceSpec, time: RunTime) -> Iterator[tuple[str, float]]:
    """Settings that change no result's meaning, or how often something is looked at, and the hours that each saves."""
    rollout: Any = exp.rollout
    if isinstance(rollout, HFRollouts):
        if device.kind == "cuda":
            saved_s = time.phase("rollout") - predict_server_rollout(exp, layout, device)
            yield "rollout=vllm", time.steps * saved_s / HOUR
        larger = find_larger_batch(exp, layout, round(device.memory_gib * GIB))
        if larger > rollout.batch_size:
            batched = replace(exp, rollout=replace(rollout, batch_size=larger))
            yield f"rollout.batch_size={larger}", time.run_h - predict_time(batched, layout, device).run_h
    if time.evaluations > 1:
        yield "loop.eval_every=0 loop.eval_last=true", time.evaluations_h * (1 - 1 / time.evaluations)
    if 0 < exp.loop.monitor_every < SPARSE:
        rare = replace(exp, loop=replace(exp.loop, monitor_every=SPARSE))
        yield f"loop.monitor_every={SPARSE}", time.run_h - predict_time(rare, layout, device).run_h


def find_larger_batch(exp: Experiment, layout: Layout, memory: int) -> int:
    """The most sequences, doubled from the run's `rollout.batch_size`, whose rollouts are predicted to fit."""
    rollout: Any = exp.rollout
    fits = size = int(rollout.batch_size)
    while size < exp.loop.sequences:
        size = min(2 * size, exp.loop.sequences)
        larger = replace(exp, rollout=replace(rollout, batch_size=size))
        if sum(predict_memory(larger, layout).phases["rollout"].values()) > memory:
            break
        fits = size
    return fits


def format_hours(hours: float) -> str:
    """`40 s`, `35 min`, `7.2 h`, `11 days`."""
    if hours < 1:
        return f"{60 * hours:.0f} min" if hours >= 1 / 60 else f"{HOUR * hours:.0f} s"
    return f"{hours:.1f} h" if hours < 2 * DAY_H else f"{hours / DAY_H:.0f} days"
