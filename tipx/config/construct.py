"""From a plain tree to specs: the one door through which a configuration, whoever wrote it, becomes objects.

A run, a sweep or a report may come from somebody else. So a `_target_` may name a spec of tipx, or of a package that
the user named on this command line by `--config-dir`; nothing else is imported, and nothing that is no spec is called.
"""

import re
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tipx.config.explain import explain_values
from tipx.config.trees import Tree
from tipx.errors import ConfigError
from tipx.moved import current_target
from tipx.spec import SPECS

TARGET = "_target_"
NAMED = re.compile(r"^\s*[\"']?_target_[\"']?\s*:\s*[\"']?([A-Za-z_]\w*)\.", re.MULTILINE)


def allowed_packages(config_dir: Path | None) -> frozenset[str]:
    """Top-level packages whose specs may be made: tipx, and those that the user's own folder of YAML names."""
    files = sorted(config_dir.rglob("*.yaml")) if config_dir else []
    return frozenset({"tipx"}).union(*(NAMED.findall(file.read_text(errors="replace")) for file in files))


def construct(tree: Tree, allowed: Collection[str], raw: Any) -> Any:
    """What a tree of plain values describes. Text is text: nothing in it is looked up or filled in.

    `raw` is the tree before interpolation, to name a wrong value where it was written. Raises ConfigError for a
    `_target_` that is not allowed, before anything is made, and for a value that does not fit its field.
    """
    refuse_targets(tree, "", allowed)
    return make_objects(tree, "", raw)


def refuse_targets(value: Any, key: str, allowed: Collection[str]) -> None:
    """Raises ConfigError for the first `_target_` that may not be made."""
    for name, part in list_parts(value):
        where = f"{key}.{name}" if key else str(name)
        if name == TARGET:
            find_spec(part, where, allowed)
        else:
            refuse_targets(part, where, allowed)


def list_parts(value: Any) -> list[tuple[Any, Any]]:
    """What a container holds, by key or place; its targets come first."""
    if isinstance(value, dict):
        return sorted(value.items(), key=lambda item: item[0] != TARGET)
    return list(enumerate(value)) if isinstance(value, list) else []


def find_spec(target: Any, key: str, allowed: Collection[str]) -> type:
    """The spec of that name; raises ConfigError."""
    if not isinstance(target, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", target):
        raise ConfigError(f"{key}: expected the dotted name of a spec, got {target!r:.80}")
    module, _, name = current_target(target).rpartition(".")
    if target.partition(".")[0] not in allowed:
        raise ConfigError(
            f"{key}={target}: not of tipx, so it is not run; if it is yours, name it in a YAML of your own folder and "
            "give that: --config-dir DIR"
        )
    try:
        kind = getattr(import_module(module), name, None)
    except ImportError as error:
        raise ConfigError(f"{key}={target}: cannot be imported ({error}); mend the name, or install it") from error
    if not isinstance(kind, type) or kind not in SPECS:
        raise ConfigError(f"{key}={target}: is no spec (a class with @spec of tipx.spec), so it is not run")
    return kind


def make_objects(value: Any, key: str, raw: Any) -> Any:
    """The object of a part of the tree that was let in."""
    if isinstance(value, list):
        return [make_objects(part, f"{key}.{i}", raw) for i, part in enumerate(value)]
    if not isinstance(value, dict):
        return value
    fields = {name: make_objects(part, f"{key}.{name}" if key else str(name), raw) for name, part in value.items()}
    if TARGET not in fields:
        return fields
    kind = find_spec(fields.pop(TARGET), key, {value[TARGET].partition(".")[0]})
    if wrong := [name for name in fields if not isinstance(name, str)]:
        raise ConfigError(f"{key or 'config'}.{wrong[0]}: no such key; `tipx show` lists every key")
    try:
        return kind(**fields)
    except ValidationError as error:
        raise ConfigError(explain_values(error, key, raw)) from error
