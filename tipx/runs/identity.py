"""Which run a configuration is: a hash of what it means, not of how it is spelled. Needs neither torch nor hydra.

Two configurations are one run if they give the same numbers. So the hash leaves out three kinds of things:

1. where code lies: of a `_target_` in tipx only the class name counts, and a renamed class counts under its first name;
2. what changes no number: places, logging, hardware (`OUTSIDE`, `ALWAYS`);
3. a setting that stands at the value which means "as before this setting existed" (`AS_BEFORE`), and a section that is
   switched off (`SWITCHED_OFF`).

A new key or a moved class therefore leaves every finished run what it was. `tests/runs/test_identity.py` holds this
with configurations that were stored on several dates. A run's directory carries the hash in its name as a label only:
`runs.place.run_path` finds a run that has another label by the meaning of its stored configuration.
"""

import hashlib
import json
import re
from typing import Any

from tipx.moved import current_target

SCHEME = 2
"""The version of the rule above. It is hashed too: runs of scheme 1 are found by what they mean, not by their label."""
PLACE = ("runs_dir", "name", "group")
"""Top-level keys that say where a run goes, and are no part of an `Experiment`."""

OUTSIDE: dict[str, tuple[str, ...]] = {
    # `ratio` and `norm` are shorthands. They count where they are interpolated, so `selector=full` is one run whatever
    # the ratio.
    "Experiment": (*PLACE, "logger", "hardware", "vocab", "ratio", "norm"),
    "Loop": ("save_every", "keep_checkpoints", "processes"),
    "ModelSource": ("offload",),
    "VLLMRollouts": (
        *("wait_s", "tolerance", "enforce_eager", "tensor_parallel_size", "enable_prefix_caching", "max_num_seqs"),
    ),
    # Every run is guarded against these, whether they are named or not.
    "Guard.known": ("math500", "aime24", "aime25", "gsm8k"),
}
"""Keys that change no number, by class. `Class.field` is a section in that field that has no class of its own."""
AS_BEFORE: dict[str, dict[str, Any]] = {
    "Guard": {"known": {}},
    "Loop": {"eval_last": False, "score_from": "forward"},
    "ModelSource": {"keep_layers": None, "trust_remote_code": False},
    "Evaluation": {"path": None},
    "Normalise": {"scope": "step"},
    "VLLMRollouts": {"dtype": "auto", "engine": {}, "ahead": 0},
}
"""Keys that are younger than some runs, and the value by which a run is what it was without the key."""
ALWAYS: dict[str, dict[str, Any]] = {
    "Loop": {"monitor_every": 1},
    "VLLMRollouts": {
        "server": "http://localhost:8000",
        "sync_dir": None,
        "timeout_s": 3600,
        "memory": 0.4,
        "sleep": True,
    },
}
"""Keys that change no number, but were hashed once, by their first name: they count as this value, whatever it is."""
SWITCHED_OFF: dict[str, dict[str, Any]] = {"Guard": {"enabled": False}, "HeldOut": {"texts": None}, "LoRA": {"r": None}}
"""A section whose key stands at this value does nothing, and counts as if it were not there."""
FIRST_NAME = {"Teacher": "ModelSource", "Student": "ModelSource"}
"""Names under which renamed classes count."""
FIRST_KEY = {"VLLMRollouts": {"gpu_memory_utilization": "memory", "max_model_len": "max_length"}}
"""Names under which renamed keys count, by class."""
NUMBER = re.compile(r"-?\d{1,18}(\.\d{1,18})?")


def identity(tree: dict[str, Any]) -> str:
    """8 hex digits of what a resolved configuration means, whatever its place, name or hardware."""
    text = json.dumps({"scheme": SCHEME, "run": meaning(tree)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def meaning(tree: dict[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that makes it the run it is, with class names for paths."""
    return section_meaning(tree, class_name(tree, "Experiment"))


def section_meaning(section: dict[str, Any], kind: str) -> dict[str, Any]:
    """The same of one section, which is of the class `kind`."""
    parts: dict[str, Any] = {}
    for key, value in section.items():
        if key in OUTSIDE.get(kind, ()):
            continue
        key = FIRST_KEY.get(kind, {}).get(key, key)  # noqa: PLW2901 - the name that counts
        if key == "_target_":
            parts[key] = kind
        elif key in ALWAYS.get(kind, {}):
            parts[key] = ALWAYS[kind][key]
        elif not (isinstance(value, dict) and is_switched_off(value)):
            parts[key] = value_meaning(value, f"{kind}.{key}")
    return without_younger_keys(parts, kind)


def without_younger_keys(section: dict[str, Any], kind: str) -> dict[str, Any]:
    """A section of the class `kind` without the keys that stand at the value which means "as before"."""
    before = AS_BEFORE.get(kind, {})
    return {key: value for key, value in section.items() if not (key in before and value == before[key])}


def value_meaning(value: Any, place: str) -> Any:
    """A value with every number in one form: 1, 1.0 and the text "1" are the same.

    The environment gives numbers as text. Only text that is exactly what Python writes for a number counts as one. A
    git revision such as "1e4567" and a folder "01" stay text.
    """
    if isinstance(value, dict):
        return section_meaning(value, class_name(value, place))
    if isinstance(value, list):
        return [value_meaning(part, place) for part in value]
    if isinstance(value, str) and NUMBER.fullmatch(value):
        number = float(value) if "." in value else int(value)
        value = number if str(number) == value else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def class_name(section: dict[str, Any], default: str) -> str:
    """The name a section's class counts under; `default` if it has none.

    Another package's class counts with its whole path: nothing says that its name is the only one there.
    """
    target = section.get("_target_")
    if not isinstance(target, str):
        return default
    target = current_target(target)
    name = target.rsplit(".", 1)[-1] if target.startswith("tipx.") else target
    return FIRST_NAME.get(name, name)


def is_switched_off(section: dict[str, Any]) -> bool:
    """Whether a section does nothing."""
    off = SWITCHED_OFF.get(class_name(section, ""), {})
    return any(section.get(key) == value for key, value in off.items())


# --- scheme 1 --------------------------------------------------------------------------------------------------------

FIRST_OUTSIDE = ("runs_dir", "name", "group", "logger", "hardware", "vocab", "ratio", "norm")
FIRST_OUTSIDE_LOOP = ("save_every", "keep_checkpoints", "processes")


def first_identity(tree: dict[str, Any]) -> str:
    """The hash of scheme 1, in the names of runs that were made until November 2026. It never changes."""
    part = {key: value for key, value in tree.items() if key not in FIRST_OUTSIDE}
    part["loop"] = {key: value for key, value in tree["loop"].items() if key not in FIRST_OUTSIDE_LOOP}
    roles = {role: tree["model"][role] for role in ("teacher", "student")}
    part["model"] = tree["model"] | {
        role: {
            key: value
            for key, value in source.items()
            if (value or key != "trust_remote_code") and (role, key) != ("teacher", "offload")
        }
        for role, source in roles.items()
    }
    same = json.loads(json.dumps(part), parse_int=float)
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:8]
