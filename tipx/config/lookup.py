"""What `tipx explain` says of a word: a key, a section, a config group, a choice of one, or a key of metrics.jsonl."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tipx.config.compose import choices as chosen_files
from tipx.config.compose import load
from tipx.config.explain import did_you_mean
from tipx.config.fields import describe_class
from tipx.config.keys import (
    ROOTS,
    TARGET,
    KeyCatalogue,
    KeyFacts,
    Mount,
    catalogue,
    default_value,
    describe_key,
    find_alias,
)
from tipx.config.origins import find_origins
from tipx.config.trees import Tree, value_at
from tipx.errors import ConfigError
from tipx.runs.metric_keys import DECLARED, MetricKey, current

LONGEST = 200
"""Characters of a word that can be a key."""


def look_up(word: str, overrides: Sequence[str], config_dir: Path | None = None) -> Tree:
    """The facts of what a word names, `kind` first; `kind` is `several` where it may be one of some keys.

    A word is a whole key, its end (`lr` of `optim.lr`), or the name of a choice. Raises ConfigError for any other.
    """
    catalogues = [catalogue(root, config_dir) for root in ROOTS]
    facts = look_up_whole(word, catalogues, overrides, config_dir)
    if facts is None and (endings := find_endings(word, catalogues)):
        if len(endings) > 1:
            return {"kind": "several", "word": word, "keys": {key: short_meaning(key, catalogues) for key in endings}}
        facts = look_up_whole(endings[0], catalogues, overrides, config_dir)
    if facts is None and (choices := find_choices(word, catalogues)):
        facts = {"kind": "choice", "word": word, "choices": choices}
    if facts is None:
        raise unknown(word, catalogues)
    return facts


def look_up_whole(
    word: str, catalogues: Sequence[KeyCatalogue], overrides: Sequence[str], config_dir: Path | None
) -> Tree | None:
    """The facts of a whole key, a section or a group; None if the word is none."""
    if (metric := find_metric(word)) is not None:
        return metric_facts(metric)
    for all_keys in catalogues:
        if (mount := find_mount(all_keys, word)) is not None:
            return group_facts(all_keys, mount, overrides, config_dir)
        if is_key(all_keys, word):
            return key_facts(all_keys, word, overrides, config_dir)
    for all_keys in catalogues:
        if (alias := find_alias(all_keys, word)) is not None and is_key(all_keys, alias):
            return {"kind": "alias", "key": word, "is": key_facts(all_keys, alias, overrides, config_dir)}
    return None


def is_key(all_keys: KeyCatalogue, word: str) -> bool:
    return word in all_keys.settings or word in all_keys.sections


def find_mount(all_keys: KeyCatalogue, word: str) -> Mount | None:
    """The config group that a word names, by what is typed or by its place; None if there is none."""
    return next((mount for mount in all_keys.mounts if word in (mount.typed, mount.package)), None)


def find_metric(word: str) -> MetricKey | None:
    """The declared key or family of metrics.jsonl that a word, which may be an older name, is of."""
    name = current(word)
    plain = next((one for one in DECLARED if name == one.name), None)
    return plain or next((one for one in DECLARED if one.part_of(name) is not None), None)


def find_endings(word: str, catalogues: Sequence[KeyCatalogue]) -> list[str]:
    """Whole keys that end in a word after a dot; where there is none, keys of metrics.jsonl that do after a slash."""
    keys = [key for all_keys in catalogues for key in (*all_keys.settings, *all_keys.sections)]
    endings = list(dict.fromkeys(key for key in keys if key.endswith(f".{word}")))
    return endings or [one.name for one in DECLARED if one.name.endswith(f"/{word}")]


def find_choices(word: str, catalogues: Sequence[KeyCatalogue]) -> dict[str, str]:
    """Choices of that name, as they are typed, each with its comment."""
    return {
        f"{mount.typed}={word}": all_keys.comment(mount.group, word)
        for all_keys in catalogues
        for mount, names in all_keys.mounts.items()
        if word in names
    }


def unknown(word: str, catalogues: Sequence[KeyCatalogue]) -> ConfigError:
    keys = {key for all_keys in catalogues for key in (*all_keys.settings, *all_keys.sections)}
    names = {mount.typed for all_keys in catalogues for mount in all_keys.mounts} | {one.name for one in DECLARED}
    ends = {key.rpartition(".")[2] for key in keys}
    near = [] if len(word) > LONGEST else difflib.get_close_matches(word, sorted(keys | names | ends), n=3, cutoff=0.6)
    return ConfigError(f"{word[:LONGEST]}: no such key; {did_you_mean(near)}`tipx show` lists every key")


def short_meaning(key: str, catalogues: Sequence[KeyCatalogue]) -> str:
    """The first sentence on a key."""
    described = [one for all_keys in catalogues for one in describe_key(all_keys, key)]
    metric = find_metric(key)
    meaning = described[0].facts.meaning if described else metric.meaning if metric else ""
    return re.split(r"(?<!\.)\. ", meaning)[0].rstrip(".")


# --- facts -----------------------------------------------------------------------------------------------------------


def metric_facts(metric: MetricKey) -> Tree:
    return {
        "kind": "metric",
        "key": metric.name,
        "meaning": metric.meaning,
        "unit": metric.unit.text,
        "range": metric.unit.range,
        "when": metric.when,
        "parts": list(metric.parts),
        "older_name": metric.was,
    }


def key_facts(all_keys: KeyCatalogue, key: str, overrides: Sequence[str], config_dir: Path | None) -> Tree:
    """Of a key or a section: what it is, its value with and without the overrides, and every file that sets it."""
    default = without_overrides(all_keys, key)
    now = composed_value(all_keys.root, key, overrides, config_dir) if overrides else default
    described = describe_key(all_keys, key)
    one = next((d for d in described if d.target == now["target"]), described[0])
    own = [setting for setting in all_keys.settings.get(key, []) if setting.choice]
    return {
        "kind": "section" if key in all_keys.sections and not own else "key",
        "key": key,
        "command": ROOTS[all_keys.root],
        "meaning": one.facts.meaning,
        "type": one.facts.values.type,
        "range": one.facts.values.range,
        "default": default["value"],
        "default_from": default["from"],
        "value": now["value"],
        "value_from": now["from"],
        "exists": now["exists"],
        "exists_with": needed_choices(described, key, all_keys),
        "set_by": [{"choice": s.choice, "value": s.value, "file": s.file} for s in own],
        "keys": keys_in(all_keys, key),
    }


def needed_choices(described: Sequence[KeyFacts], key: str, all_keys: KeyCatalogue) -> list[str]:
    """Choices with which a key is there; [] for one that is there whatever is chosen."""
    with_it = list(dict.fromkeys(choice for one in described for choice in one.choices))
    place = key.rpartition(".")[0]
    every = {choice for choices in all_keys.targets.get(place, {}).values() for choice in choices}
    return [] if "" in with_it and every == set(with_it) else [choice for choice in with_it if choice]


def group_facts(all_keys: KeyCatalogue, mount: Mount, overrides: Sequence[str], config_dir: Path | None) -> Tree:
    """Of a config group: what it says, its choices, and which of them is taken."""
    took = {m.typed: name for m, name in all_keys.defaults.items()}
    if overrides:
        took = chosen_files(overrides, all_keys.root, config_dir)
    described = describe_key(all_keys, mount.package)
    return {
        "kind": "group",
        "key": mount.typed,
        "command": ROOTS[all_keys.root],
        "meaning": described[0].facts.meaning if described else PRESETS,
        "value": next((took[name] for name in (mount.typed, f"{mount.group}@{mount.package}") if name in took), None),
        "choices": {name: all_keys.comment(mount.group, name) for name in all_keys.mounts[mount]},
        "classes": {target: describe_class(target) for target in all_keys.targets.get(mount.package, {})},
        "keys": keys_in(all_keys, mount.package),
    }


PRESETS = "A preset of other groups and keys, which are put over those of the composition."


def without_overrides(all_keys: KeyCatalogue, key: str) -> Tree:
    """What `composed_value` gives where nothing is typed, without composing."""
    setting = default_value(all_keys, key)
    section = key in all_keys.sections and any(default_value(all_keys, k) for k in keys_in(all_keys, key))
    place = key.rpartition(".")[0]
    targets = [target for target, choices in all_keys.targets.get(place, {}).items() if "" in choices]
    return {
        "value": setting.value if setting else None,
        "from": setting.file if setting else None,
        "exists": setting is not None or section,
        "target": targets[0] if targets else None,
    }


def keys_in(all_keys: KeyCatalogue, section: str) -> list[str]:
    return [key for key in all_keys.settings if key.startswith(f"{section}.")]


def composed_value(root: str, key: str, overrides: Sequence[str], config_dir: Path | None) -> Tree:
    """The value of a key in a composition, where it is from, and the class of its section."""
    cfg = load(overrides, root, config_dir)
    raw = OmegaConf.to_container(cfg, resolve=False)
    place, _, name = key.rpartition(".")
    section = value_at(raw, place) if place else raw
    if not isinstance(section, dict) or name not in section:
        return {"value": None, "from": None, "exists": False, "target": None}
    value = section[name]
    return {
        "value": plain(OmegaConf.select(cfg, key)) if isinstance(value, str) and "${" in value else plain(value),
        "from": origin(key, find_origins(overrides, root, config_dir)),
        "exists": True,
        "target": section.get(TARGET),
    }


def plain(value: Any) -> Any:
    """A value as JSON has it; None for a section, whose keys have values of their own."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    return None if isinstance(value, dict) and value else value


def origin(key: str, origins: dict[str, str]) -> str | None:
    """The file or override that gave a key, or a section that it is in."""
    parts = key.split(".")
    above = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((origins[name] for name in above if name in origins), None)
