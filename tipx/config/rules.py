"""Selectors that overrides stand for, to be tried on a step that another one selected in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tipx.config.compose import inherit, load, rebuild, resolve
from tipx.config.grid import expand_overrides
from tipx.config.trees import Tree
from tipx.errors import ConfigError

SHORTHANDS = ("ratio", "norm", "quadrants")
"""Top-level keys that selectors interpolate."""


def build_rules(made: Tree, overrides: Sequence[str], config_dir: Path | None = None) -> dict[str, Any]:
    """A selector for every combination of values, by a name that says what varies; `made` is a run's configuration.

    Words mean what they mean for `tipx train`, but shorthands that are not given are the run's, and without any word
    on the selector it is the run's own. Raises ConfigError for a word that has no part in selection.
    """
    for word in overrides:
        first = word.lstrip("+~").split("=")[0].split("@")[0].replace("/", ".").split(".")[0]
        if first not in ("selector", *SHORTHANDS):
            raise ConfigError(
                f"{word}: not part of a selection rule; expected selector=..., selector/score=..., selector/pick=..., "
                f"ratio=... or norm=..., e.g. --compare selector=soft_or,q3_only ratio=0.2"
            )
    combinations = expand_overrides(overrides, config_dir)
    varies = [len(set(words)) > 1 for words in zip(*combinations, strict=True)]
    return {rule_name(words, varies): build_selector(made, words, config_dir) for words in combinations}


def rule_name(words: Sequence[str], varies: Sequence[bool]) -> str:
    """What tells a combination from the others: `q3_only`, `q3_only ratio=0.1`."""
    told = [word for word, differs in zip(words, varies, strict=True) if differs] or list(words)
    return " ".join(word.removeprefix("selector=") for word in told)


def build_selector(made: Tree, overrides: Sequence[str], config_dir: Path | None) -> Any:
    """One of them."""
    cfg = load(overrides, "train", config_dir)
    inherit(cfg, {key: made[key] for key in SHORTHANDS if key in made}, overrides)
    tree = resolve(cfg)
    if any(word.lstrip("+~").startswith("selector") for word in overrides):
        return rebuild({"selector": tree["selector"]}, config_dir)["selector"]
    return rebuild({"selector": with_shorthands(made["selector"], made, tree)}, config_dir)["selector"]


def with_shorthands(value: Any, old: Tree, new: Tree) -> Any:
    """A run's selector with other shorthands, wherever it has the run's."""
    if not isinstance(value, dict):
        return value
    out = {key: with_shorthands(part, old, new) for key, part in value.items()}
    return out | {key: new[key] for key in SHORTHANDS if key in value and value[key] == old.get(key)}
