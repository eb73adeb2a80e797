"""Wall time and peak memory of each phase of a step."""

import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from tipx.runs import metric_keys as keys

MIB = 2**20


class Meter:
    """Collects wall time in seconds and peak memory in MiB of each phase until `read` empties it.

    On an accelerator the peak is what its allocator held; on the CPU it is the process's resident set.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.values: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._reset_peak()
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.values[keys.TIME.of(name)] = time.perf_counter() - start
        self.values[keys.MEMORY.of(name)] = self._peak() / MIB

    def read(self) -> dict[str, float]:
        values, self.values = self.values, {}
        return values

    def _reset_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        # Linux: resets the high-water mark of resident memory, where a process may.
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def _peak(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        status = Path("/proc/self/status")
        marks = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text() if status.exists() else "", re.MULTILINE)
        if marks:
            return int(marks[1]) * 1024
        # Elsewhere only the peak since the process began is known; macOS counts bytes, Linux KiB.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
