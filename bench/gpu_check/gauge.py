"""Seconds, bytes, launches and synchronisations of a call, on a GPU and on a CPU.

Seconds are those of the device between two CUDA events, or CPU time. Bytes are those of torch's allocator, or growth of
the resident set.
"""

import gc
import time
import warnings
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from tipx.runs.metric_keys import MEMORY, TIME
from tipx.train.meter import MIB, Meter

Call = Callable[[], object]
SYNCHRONISES = "called a synchronizing CUDA operation"
"""What torch warns of in its debug mode."""


def time_call(call: Call, device: torch.device) -> float:
    """Seconds of one call."""
    if device.type != "cuda":
        began = time.process_time()
        call()
        return time.process_time() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def measure_growth(call: Call, device: torch.device) -> float:
    """MiB at the highest moment of a call, over what is there before it."""
    gc.collect()
    meter = Meter(device)
    for name, work in (("before", lambda: None), ("call", call)):
        with meter.phase(name):
            work()
    values = meter.read()
    return values[MEMORY.of("call")] - values[MEMORY.of("before")]


@dataclass
class Measured:
    """Seconds of each round, and MiB of growth."""

    seconds: list[float] = field(default_factory=list)
    mib: float = 0.0

    @property
    def least(self) -> float:
        """What a neighbour on the machine did not make slower."""
        return min(self.seconds)


def take_turns(
    calls: Mapping[str, Call], device: torch.device, rounds: int, go_on: Callable[[], bool] = lambda: True
) -> dict[str, Measured | None]:
    """Each call once a round, one after another, after a first that compiles and is measured for its memory.

    None is what does not fit into the device's memory. `go_on` is asked after the first call and before each round but
    the first; what was not reached is not in the result.
    """
    results: dict[str, Measured | None] = {}
    for name, call in calls.items():
        if results and not go_on():
            break
        try:
            call()
            results[name] = Measured(mib=measure_growth(call, device))
        except torch.OutOfMemoryError:
            results[name] = None
            gc.collect()
            torch.cuda.empty_cache()
    for number in range(rounds):
        if number and not go_on():
            break
        for name, result in results.items():
            if result is not None:
                result.seconds.append(time_call(calls[name], device))
    return results


@dataclass(frozen=True)
class Launches:
    """What a call started: kernels of a GPU, or torch's operators on a CPU, by name, and the seconds in each."""

    counts: Counter[str]
    seconds: Counter[str]

    @property
    def total(self) -> int:
        return self.counts.total()


def count_launches(call: Call, device: torch.device) -> Launches:
    """By torch.profiler. Copies and fills count as launches too."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as prof:
        call()
        if on_gpu:
            torch.cuda.synchronize(device)
    counts, seconds = Counter[str](), Counter[str]()
    for event in prof.events() or []:
        if on_gpu:
            counted = event.device_type.name == "CUDA" and not event.is_user_annotation
        else:
            outer = event.cpu_parent is None or not event.cpu_parent.name.startswith("aten::")
            counted = event.name.startswith("aten::") and outer
        if counted:
            counts[event.name] += 1
            seconds[event.name] += event.time_range.elapsed_us() / 1e6
    return Launches(counts, seconds)


def count_synchronisations(call: Call, device: torch.device) -> int | None:
    """How often a call waits for the GPU; None where there is none."""
    if device.type != "cuda":
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum(SYNCHRONISES in str(warning.message) for warning in caught)


class AllocatorMeter(Meter):
    """Peak bytes of torch's allocator in each phase, on a CPU too: there `record` has to be entered around all.

    Phases keep their names apart by the case that is set.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.case = ""
        self.peaks: dict[tuple[str, str], float] = {}
        """By case and phase."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.process_time()
        with record_function(f"phase: {self.case}: {name}"), super().phase(name):
            yield
        if self.device.type == "cuda":
            key = self.case, name
            self.peaks[key] = max(self.peaks.get(key, 0.0), self.values[MEMORY.of(name)] * MIB)
        else:
            self.values[TIME.of(name)] = time.process_time() - began

    @contextmanager
    def record(self) -> Iterator[None]:
        """On a CPU the profiler's memory events tell what the allocator held, and afterwards `peaks` are known."""
        if self.device.type == "cuda":
            yield
            return
        gc.collect()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
            yield
        kineto = prof.profiler and prof.profiler.kineto_results
        if kineto is None:
            raise RuntimeError("torch.profiler gave no events")
        events = kineto.events()
        spans = [
            (e.start_ns(), e.start_ns() + e.duration_ns(), *e.name().split(": ")[1:])
            for e in events
            if e.name().startswith("phase: ")
        ]
        memory = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
        times, held = [at for at, _ in memory], [0, *accumulate(size for _, size in memory)]
        for begin, end, case, name in spans:
            # What is there when a phase begins counts, too.
            peak = max(held[bisect_left(times, begin) : bisect_right(times, end) + 1])
            self.peaks[case, name] = max(self.peaks.get((case, name), 0.0), peak)
