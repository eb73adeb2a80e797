"""Whether a step will fit the device, and how long the run will take, as checks before the first step."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from tipx.errors import ModelError
from tipx.memory.devices import DeviceSpec, find_own_device
from tipx.memory.duration import HOUR, RunTime, predict_server_rollout, predict_time
from tipx.memory.layout import Layout
from tipx.memory.predict import predict_memory
from tipx.rollout.hf import HFRollouts
from tipx.train.experiment import Experiment
from tipx.train.preflight import Finding

GIB = 2**30


DAY_H = 24.0
"""What a choice has to cost before a better one is named, hours."""
SPARSE = 10
"""The `loop.monitor_every` that is compared with a smaller one."""


def runs_on_gpu(exp: Experiment) -> bool:
    """Whether the run would take this machine's GPU."""
    return exp.hardware.device == "auto" and torch.cuda.is_available()


def device_memory(on_gpu: bool) -> int:  # noqa: FBT001 - a yes/no is the whole argument
    """Bytes that the run's device has."""
    return torch.cuda.mem_get_info()[1] if on_gpu else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def memory_finding(exp: Experiment) -> Finding:
    """The predicted peak of one process at the lengths' limits, against what the run's device has."""
    on_gpu = runs_on_gpu(exp)
    there = device_memory(on_gpu)
    try:
        prediction = predict_memory(exp, Layout(device="cuda" if on_gpu else "cpu"))
    except ModelError as error:
        return Finding("memory", "warning", f"it cannot be predicted: {error}")
    where = "the GPU" if on_gpu else "this machine"
    text = f"predicted peak {prediction.peak / GIB:.3g} GiB ({prediction.highest}); {where} has {there / GIB:.3g}"
    if prediction.peak <= there:
        return Finding("memory", "ok", text)
    remedy = "try hardware.micro_batch=1, hardware.gradient_checkpointing=true, a smaller rollout.batch_size"
    return Finding("memory", "warning", f"{text}; {remedy}; `tipx memory` shows more")


def time_finding(exp: Experiment) -> Finding:
    """How long the run will take on its device, and what would save the most if that is days."""
    on_gpu = runs_on_gpu(exp)
    device, layout = find_own_device(gpu=on_gpu), Layout(device="cuda" if on_gpu else "cpu")
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
        larger = find_larger_batch(exp, layout)
        if larger > rollout.batch_size:
            batched = replace(exp, rollout=replace(rollout, batch_size=larger))
            yield f"rollout.batch_size={larger}", time.run_h - predict_time(batched, layout, device).run_h
    if time.evaluations > 1:
        yield "loop.eval_every=0 loop.eval_last=true", time.evaluations_h * (1 - 1 / time.evaluations)
    if 0 < exp.loop.monitor_every < SPARSE:
        rare = replace(exp, loop=replace(exp.loop, monitor_every=SPARSE))
        yield f"loop.monitor_every={SPARSE}", time.run_h - predict_time(rare, layout, device).run_h


def find_larger_batch(exp: Experiment, layout: Layout) -> int:
    """The most sequences, doubled from the run's `rollout.batch_size`, whose rollouts are predicted to fit."""
    rollout: Any = exp.rollout
    fits = size = int(rollout.batch_size)
    while size < exp.loop.sequences:
        size = min(2 * size, exp.loop.sequences)
        larger = replace(exp, rollout=replace(rollout, batch_size=size))
        if sum(predict_memory(larger, layout).phases["rollout"].values()) > device_memory(layout.device == "cuda"):
            break
        fits = size
    return fits


def format_hours(hours: float) -> str:
    """`40 s`, `35 min`, `7.2 h`, `11 days`."""
    if hours < 1:
        return f"{60 * hours:.0f} min" if hours >= 1 / 60 else f"{HOUR * hours:.0f} s"
    return f"{hours:.1f} h" if hours < 2 * DAY_H else f"{hours / DAY_H:.0f} days"
