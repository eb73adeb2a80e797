"""The sections, and one of them run: in this process, or in one of its own."""

import importlib
import os
import platform
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from time import monotonic

import torch

from bench.gpu_check.results import Section, Work


@dataclass(frozen=True)
class Part:
    """A section's place: without `fewest_s` seconds it is not begun, and it may take `share` of what is left."""

    what: str
    fewest_s: float
    share: float


SECTIONS = {
    "calibration": Part("what the device can do", 15, 0.1),
    "correctness": Part("results against the CPU", 45, 0.3),
    "loss": Part("the loss stage", 45, 0.4),
    "step": Part("a whole training step", 60, 0.5),
    "rollouts": Part("sampling", 30, 0.6),
    "sharded": Part("FSDP with a mesh of one", 45, 1.0),
}
"""By the name of the module, in their order. The last that is asked for may take all that is left."""
SPOKEN = "says: "
"""Begins a line of a section's process that is for the screen."""
GRACE_S = 10.0
"""After its deadline a section has so long to end by itself."""


def run_section(name: str, device: str, *, small: bool, seconds: float, file: Path) -> None:
    """In this process: everything that it raises is its result."""
    section = Section(name)
    work = Work(torch.device(device), small, monotonic() + seconds, file, section, say)
    work.save()
    began = monotonic()
    try:
        section.device = describe_device(work.device)
        importlib.import_module(f"bench.gpu_check.{name}").run(work)
        section.close()
    except Exception as error:  # noqa: BLE001 - whatever stops a section is what the report has to say of it
        traceback.print_exc()
        section.status, section.why = "stopped", first_line(error)
    section.seconds = monotonic() - began
    work.save()


def describe_device(device: torch.device) -> str:
    """Asked for here alone: a process that only waits must not hold a part of a GPU."""
    if device.type == "cpu":
        return platform.processor() or platform.machine()
    found = torch.cuda.get_device_properties(device)
    memory = f"{found.total_memory / 2**30:.0f} GiB"
    return f"{found.name}, {memory}, capability {found.major}.{found.minor}, CUDA {torch.version.cuda}"


def first_line(error: BaseException) -> str:
    """An error in one line."""
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}"[:300]


def say(text: str) -> None:
    print(f"{SPOKEN}{text}", flush=True)  # noqa: T201 - to the process that started this one


def start_section(
    name: str, device: str, *, small: bool, seconds: float, out: Path, tell: Callable[[str], None]
) -> Section:
    """In a process of its own, which is ended when its time is up. What it prints besides goes to a log in `out`."""
    file, log = out / f".gpu_check-{name}.json", out / f"gpu_check-{name}.log"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "bench.gpu_check", "--section", name, "--device", device]
    command += ["--seconds", f"{seconds:.0f}", "--file", str(file), *(["--small"] if small else [])]
    began = monotonic()
    with (
        log.open("w") as sink,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True, start_new_session=True) as child,
    ):
        timer = Timer(seconds + GRACE_S, end_session, [child.pid])
        timer.start()
        try:
            for line in child.stdout or ():
                if line.startswith(SPOKEN):
                    tell(line.removeprefix(SPOKEN).strip())
                else:
                    sink.write(line)
            code = child.wait()
        finally:
            timer.cancel()
            end_session(child.pid)  # an engine's workers, too
    section = Section.read(file) if file.exists() else Section(name)
    file.unlink(missing_ok=True)
    if code != 0:
        late = monotonic() - began > seconds + GRACE_S
        section.status = "stopped"
        section.why = (
            f"stopped after {seconds:.0f} s" if late else f"its process ended with code {code}; see {log.name}"
        )
    section.seconds = monotonic() - began
    return section


def end_session(leader: int) -> None:
    """Every process that a section started."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return
