"""Which run a configuration is. Needs neither torch nor hydra."""

import hashlib
import json
from typing import Any

PLACE = ("runs_dir", "name", "group")
"""Top-level keys that say where a run goes, and are no part of an `Experiment`."""
OUTSIDE_IDENTITY = (*PLACE, "logger", "hardware", "vocab", "ratio", "norm")
"""What does not make another run: places, logging, hardware, tile sizes, and shorthands, which count where they are
interpolated (so that `selector=full` is one run whatever the ratio)."""
OUTSIDE_LOOP_IDENTITY = ("save_every", "keep_checkpoints", "processes")
OUTSIDE_TEACHER_IDENTITY = ("offload",)
OUTSIDE_MODEL_IDENTITY_WHILE_FALSE = ("trust_remote_code",)
"""Settings of either model that are younger than many runs, which are what they are without them."""


def kept(tree: dict[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that makes it the run it is."""
    part = {key: value for key, value in tree.items() if key not in OUTSIDE_IDENTITY}
    part["loop"] = {key: value for key, value in tree["loop"].items() if key not in OUTSIDE_LOOP_IDENTITY}
    teacher, student = (set_ones(tree["model"][role]) for role in ("teacher", "student"))
    teacher = {key: value for key, value in teacher.items() if key not in OUTSIDE_TEACHER_IDENTITY}
    part["model"] = tree["model"] | {"teacher": teacher, "student": student}
    return part


def set_ones(model: dict[str, Any]) -> dict[str, Any]:
    """A model's settings without those that count only when they are on."""
    return {key: value for key, value in model.items() if value or key not in OUTSIDE_MODEL_IDENTITY_WHILE_FALSE}


def identity(tree: dict[str, Any]) -> str:
    """8 hex digits: what run this is, whatever its place, name or hardware. 1 and 1.0 are one value."""
    same = json.loads(json.dumps(kept(tree)), parse_int=float)
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:8]
