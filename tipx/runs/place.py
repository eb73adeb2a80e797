"""Where a run lies: runs_dir/group/name-hash8, or the directory of the same run under an older label."""

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tipx.errors import ConfigError, Damaged
from tipx.files.names import wrong_name, wrong_path
from tipx.runs.directory import Run
from tipx.runs.find import runs_of
from tipx.runs.identity import first_identity, identity
from tipx.runs.mark import is_run

VARIABLE = re.compile(r"\$\{oc\.env:(\w+)(?:,([^{}]*))?\}")
"""Text from the environment as a stored configuration has it: not read, since it may be a password."""


def run_path(tree: dict[str, Any], choices: Mapping[str, str]) -> Path:
    """runs_dir/group/name-hash8, or where that run lies under an older label.

    Raises ConfigError for a place where `tipx runs` would not find it.
    """
    name = f"{choices['model']}-{choices['selector']}" if tree["name"] is None else tree["name"]
    for key, part in (("group", tree["group"]), ("name", name)):
        if not isinstance(part, str | int | float):
            raise ConfigError(f"{key}: expected the name of one folder, got {part!r}")
        if wrong := wrong_name(str(part)):
            raise ConfigError(f"{key}: {wrong}")
    folder = f"{name}-{identity(tree)}"
    if wrong := wrong_name(folder):
        raise ConfigError(f"name: with the run's hash, {wrong}")
    path = runs_folder(tree["runs_dir"]) / str(tree["group"]) / folder
    return path if is_run(path) else same_run(path, tree) or path


def same_run(path: Path, tree: dict[str, Any]) -> Path | None:
    """A run beside `path` that means the same under an older label; the finished one if there are several."""
    name, wanted = path.name.rpartition("-")[0], identity(tree)
    runs = [run for run in runs_of(path.parent) if run.label is not None and run.path.name == f"{name}-{run.label}"]
    same = [run for run in runs if stored_identity(run.path) == wanted]
    return max(same, key=lambda run: run.finished).path if same else None


@cache
def stored_identity(path: Path) -> str | None:
    """Which run a directory holds, by its configuration; None where it cannot be told.

    Text from the environment is not stored, and may be another today: then the label must fit what it is filled with.
    """
    try:
        tree = Run(path).config()
        filled = with_environment(tree)
    except (Damaged, KeyError):  # it cannot be read, or a variable is not set here
        return None
    return identity(filled) if filled == tree or first_identity(filled) == Run(path).label else None


def with_environment(value: Any) -> Any:
    """A stored configuration, or a part of it, with today's environment; raises KeyError for a variable not set."""
    if isinstance(value, dict):
        return {key: with_environment(part) for key, part in value.items()}
    if isinstance(value, list):
        return [with_environment(part) for part in value]
    return VARIABLE.sub(variable_text, value) if isinstance(value, str) else value


def variable_text(match: re.Match[str]) -> str:
    """What a variable holds, or else its default; raises KeyError where it has neither."""
    name, default = match.groups()
    return os.environ[name] if default is None else os.environ.get(name, default)


def runs_folder(value: object) -> Path:
    """`runs_dir` as a path; raises ConfigError."""
    wrong = wrong_path(value) if isinstance(value, str) else f"expected a path, got {value!r}"
    if wrong:
        raise ConfigError(f"runs_dir: {wrong}; give it as runs_dir=/path/to/runs")
    return Path(str(value))
