"""The nearest layout of a run that fits a device: the fewest changes that leave the run what it is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tipx.memory.layout import Layout
from tipx.memory.predict import PHASES, Prediction, predict_memory
from tipx.rollout.hf import HFRollouts
from tipx.train.experiment import Experiment

ALL = frozenset(PHASES)
PASSES = frozenset({"teacher", "score", "train"})
"""Phases in which whole sequences are read, by micro-batches."""


@dataclass(frozen=True)
class Change:
    """One override, what it does to an experiment, and the phases whose peak it may lower."""

    key: str
    value: str
    apply: Callable[[Experiment], Experiment]
    phases: frozenset[str] = ALL

    @property
    def word(self) -> str:
        return f"{self.key}={self.value}"


def set_hardware(**values: Any) -> Callable[[Experiment], Experiment]:
    return lambda exp: replace(exp, hardware=replace(exp.hardware, **values))


def offload_teacher(exp: Experiment) -> Experiment:
    return replace(exp, model=replace(exp.model, teacher=replace(exp.model.teacher, offload="cpu")))


def set_batch(size: int) -> Callable[[Experiment], Experiment]:
    """Responses that are sampled at once; of an agent its backend's."""

    def apply(exp: Experiment) -> Experiment:
        how: Any = exp.rollout
        if isinstance(how, HFRollouts):
            return replace(exp, rollout=replace(how, batch_size=size))
        return replace(exp, rollout=replace(how, backend=replace(how.backend, batch_size=size)))

    return apply


def list_changes(exp: Experiment, layout: Layout) -> Iterator[Change]:
    """From what costs least to what costs most, as they are tried."""
    hardware, rollout = exp.hardware, exp.rollout
    for size in halve(hardware.micro_batch):
        yield Change("hardware.micro_batch", str(size), set_hardware(micro_batch=size), PASSES)
    yield Change(
        "hardware.gradient_checkpointing", "true", set_hardware(gradient_checkpointing=True), frozenset({"train"})
    )
    if (layout.processes or exp.loop.processes or 1) > 1:
        yield Change("hardware.strategy", "fsdp", set_hardware(strategy="fsdp"))
    if layout.device == "cuda":
        yield Change("model.teacher.offload", "cpu", offload_teacher)
        yield Change("hardware.cpu_offload", "true", set_hardware(cpu_offload=True))
    backend: Any = getattr(rollout, "backend", rollout)
    if isinstance(backend, HFRollouts):
        key = "rollout.batch_size" if backend is rollout else "rollout.backend.batch_size"
        for size in halve(backend.batch_size):
            yield Change(key, str(size), set_batch(size), frozenset({"rollout"}))


def halve(size: int) -> Iterator[int]:
    while size > 1:
        size //= 2
        yield size


def find_nearest(exp: Experiment, layout: Layout, memory: int) -> tuple[list[str], Prediction] | None:
    """Overrides with which the run is predicted to fit, and its prediction; None if none of these does.

    Changes are added one by one, as far as each lowers the peak. What turns out needless is taken back at the end.
    """
    chosen, best = list[Change](), predict_memory(exp, layout)
    for change in list_changes(exp, layout):
        if best.peak <= memory:
            break
        if best.highest not in change.phases:
            continue
        trial = [*(other for other in chosen if other.key != change.key), change]
        prediction = predict_memory(apply_all(exp, trial), layout)
        if prediction.peak < best.peak:
            chosen, best = trial, prediction
    if best.peak > memory:
        return None
    for change in chosen[-2::-1]:
        trial = [other for other in chosen if other is not change]
        prediction = predict_memory(apply_all(exp, trial), layout)
        if prediction.peak <= memory:
            chosen, best = trial, prediction
    return [change.word for change in chosen], best


def apply_all(exp: Experiment, changes: Sequence[Change]) -> Experiment:
    for change in changes:
        exp = change.apply(exp)
    return exp
