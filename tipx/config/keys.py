"""Every configuration key there is: what it is, and which file of `conf/` gives it which value.

Files are read as they are, without Hydra: a group's choice is its file over the files that its defaults list names. So
the keys of all choices are known at once, also of those that a composition does not take.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tipx.config.compose import ASKED, conf_dir
from tipx.config.fields import FieldFacts, Values, describe_fields
from tipx.config.trees import Tree, leaf_keys, value_at
from tipx.errors import ConfigError
from tipx.files.yamls import first_comment, parse_yaml, read_text
from tipx.moved import current_target

ROOTS = {"train": "tipx train", "eval": "tipx eval"}
"""What is composed, and by which command."""
TARGET = "_target_"
TEXT, TEXT_OR_NULL = Values(("text",)), Values(("text", "null"))
PLAIN = {
    "runs_dir": FieldFacts("runs_dir", Values(("path",)), "Folder of all runs. It is no part of what a run is.", None),
    "group": FieldFacts("group", TEXT, "Folder under runs_dir that a run lies in. A sweep's is its name.", None),
    "name": FieldFacts(
        "name",
        TEXT_OR_NULL,
        "Beginning of the run directory's name, before its hash. null is <model>-<selector>.",
        None,
    ),
    "asked": FieldFacts(
        "asked",
        Values(("mapping",)),
        "Choices of eval= and template= by which `tipx eval` asks a model folder. A benchmark's own come before these.",
        None,
    ),
}
"""Keys that are no field of a spec: where a run goes, and how a model folder is asked."""


@dataclass(frozen=True)
class Mount:
    """A config group at the place where a composition has it: `rollout` at `eval.sampling`."""

    group: str
    package: str

    @property
    def typed(self) -> str:
        """As it is typed before `=`: selector/pick, or rollout@eval.sampling."""
        return self.group if self.package == self.group.replace("/", ".") else f"{self.group}@{self.package}"


@dataclass(frozen=True)
class Setting:
    """What a choice gives a key: `optim=adamw` gives `optim.lr`; the choice is "" for what no group gives."""

    key: str
    value: Any
    file: str
    choice: str


@dataclass(frozen=True)
class ConfFile:
    """A YAML file of `conf/`."""

    label: str
    is_global: bool
    defaults: tuple[Any, ...]
    tree: Tree


Given = dict[str, tuple[Any, str]]
"""Values by key, each with its file."""


class KeyCatalogue:
    """All keys of one root, `train` or `eval`. `folders` are searched in their order.

    `settings` are by key; those whose choice is "" are the composition without overrides, and `defaults` its choices.
    `targets` say which classes a section may be of, and with which choices. `nesting` are the classes that have one
    more of their own group inside, as a score that shuffles another.
    """

    def __init__(self, root: str, config_dir: Path | None = None) -> None:
        self.root = root
        self.folders = {"conf": conf_dir()} | ({str(config_dir): config_dir} if config_dir else {})
        self.files: dict[str, ConfFile | None] = {}
        self.mounts: dict[Mount, list[str]] = {}
        self.settings: dict[str, list[Setting]] = {}
        self.targets: dict[str, dict[str, list[str]]] = {}
        self.nesting: set[str] = set()
        own, self.defaults = self.read_choice("", root, "")
        self.add(own, "")
        waiting = list(self.defaults)
        while waiting:
            mount = waiting.pop(0)
            if mount not in self.mounts:
                waiting += self.read_mount(mount)
        every = [*self.settings, *(f"{place}.{TARGET}" for place in self.targets if place)]
        parts = [key.split(".") for key in every]
        above = (".".join(words[:length]) for words in parts for length in range(1, len(words)))
        self.sections = list(dict.fromkeys(above))

    def read_mount(self, mount: Mount) -> list[Mount]:
        """Take in every choice of a group; the groups that these bring."""
        inside = any(m.group == mount.group and mount.package.startswith(f"{m.package}.") for m in self.mounts)
        self.mounts[mount] = []
        more: list[Mount] = []
        for name in self.choices(mount.group):
            own, begun = self.read_choice(mount.group, name, mount.package)
            target = str(own.get(join(mount.package, TARGET), ("",))[0])
            if any(new.group == mount.group for new in begun):
                self.nesting.add(target)
            if inside and target in self.nesting:
                continue
            self.mounts[mount].append(name)
            self.add(own, f"{mount.typed}={name}")
            more += begun
        return more

    def add(self, values: Given, choice: str) -> None:
        for key, (value, file) in values.items():
            place, _, name = key.rpartition(".")
            if name == TARGET:
                self.targets.setdefault(place, {}).setdefault(current_target(str(value)), []).append(choice)
            else:
                self.settings.setdefault(key, []).append(Setting(key, value, file, choice))

    def choices(self, group: str) -> list[str]:
        """Names of a group's files, but those that are parts of others."""
        names = {path.stem for folder in self.folders.values() for path in (folder / group).glob("*.yaml")}
        return sorted(name for name in names if not name.startswith("_"))

    def comment(self, group: str, name: str) -> str:
        """The first comment line of a choice."""
        paths = [folder / group / f"{name}.yaml" for folder in self.folders.values()]
        return next((first_comment(path) for path in paths if path.is_file()), "")

    def file(self, group: str, name: str) -> ConfFile | None:
        """The file of a choice; None where there is none."""
        path = f"{group}/{name}.yaml".lstrip("/")
        if path not in self.files:
            there = [(label, folder / path) for label, folder in self.folders.items() if (folder / path).is_file()]
            self.files[path] = read_file(f"{there[0][0]}/{path}", there[0][1]) if there else None
        return self.files[path]

    def read_choice(
        self, group: str, name: str, package: str, chosen: dict[Mount, str] | None = None
    ) -> tuple[Given, dict[Mount, str]]:
        """Every key that a choice sets, with value and file, and the groups that it brings, each with its choice."""
        file = self.file(group, name)
        if file is None:
            return {}, {}
        here = "" if file.is_global else package
        entries = [Entry.parse(one, group, here) for one in file.defaults if one != "_self_"]
        chosen = {e.mount: e.name for e in entries if e.overrides} | (chosen or {})
        values: Given = {}
        begun: dict[Mount, str] = {}
        own = {join(here, key): (value_at(file.tree, key), file.label) for key in leaf_keys(file.tree)}
        for entry in entries:
            if not entry.overrides:
                pick = chosen.get(entry.mount, entry.name) if entry.is_choice else entry.name
                begun |= {entry.mount: pick} if entry.is_choice else {}
                more, further = self.read_choice(entry.mount.group, pick, entry.mount.package, chosen)
                put_over(values, more)
                begun |= further
        put_over(values, own)
        return values, begun

    def brings(self, mount: Mount, name: str) -> dict[Mount, str]:
        """Choices of other groups that a choice makes: of `model=qwen3` data=dapo_math and more."""
        file = self.file(mount.group, name)
        if file is None:
            return {}
        here = "" if file.is_global else mount.package
        entries = [Entry.parse(one, mount.group, here) for one in file.defaults if one != "_self_"]
        brought: dict[Mount, str] = {}
        for entry in entries:
            if entry.mount.group == mount.group and not entry.is_choice:
                brought |= self.brings(Mount(mount.group, mount.package), entry.name)
        _, begun = self.read_choice(mount.group, name, mount.package)
        return brought | begun | {entry.mount: entry.name for entry in entries if entry.overrides}


def put_over(values: Given, more: Given) -> None:
    """Set more values: a section takes the place of a plain value, and the other way round."""
    for key, value in more.items():
        for old in [old for old in values if old.startswith(f"{key}.") or key.startswith(f"{old}.")]:
            if value[0] != {} or not old.startswith(f"{key}."):
                del values[old]
        values.pop(key, None)
        values[key] = value


@dataclass(frozen=True)
class Entry:
    """One line of a defaults list. `is_choice`: it can be chosen otherwise, as a file of the own group cannot."""

    mount: Mount
    name: str
    is_choice: bool
    overrides: bool = False

    @classmethod
    def parse(cls, line: Any, group: str, package: str) -> "Entry":
        """A line of a file of `group` whose content is at `package`."""
        if isinstance(line, str):
            name, _, at = line.partition("@")
            return cls(Mount(group, join(package, at)), name, is_choice=False)
        ((words, name),) = line.items()
        spelled, overrides = words.removeprefix("override "), words.startswith("override ")
        path, _, at = spelled.partition("@")
        absolute = path.startswith("/")
        full = path.lstrip("/") if absolute or not group else f"{group}/{path}"
        last = path.replace("/", ".") if not absolute else ""
        place = join(package, at or last) if at or last else full.replace("/", ".")
        return cls(Mount(full, place), str(name), is_choice=True, overrides=overrides)


def join(package: str, key: str) -> str:
    return f"{package}.{key}" if package and key else package or key


def read_file(label: str, path: Path) -> ConfFile:
    """Raises ConfigError where it is no YAML."""
    text = read_text(path, ConfigError, "mend it")
    tree = parse_yaml(text, str(path), ConfigError, "mend it")
    defaults = tree.pop("defaults", None) or []
    tree.pop("hydra", None)
    return ConfFile(label, bool(re.search(r"^# @package _global_", text, re.MULTILINE)), tuple(defaults), tree)


@cache
def catalogue(root: str, config_dir: Path | None = None) -> KeyCatalogue:
    """All keys of `train` or `eval`; raises ConfigError."""
    return KeyCatalogue(root, config_dir)


# --- one key ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeyFacts:
    """A key, as a class has it, and the choices with which it is of that class."""

    key: str
    facts: FieldFacts
    target: str
    choices: tuple[str, ...]


def describe_key(all_keys: KeyCatalogue, key: str) -> list[KeyFacts]:
    """What a key or a section means: once for each class that the section above it may be of; [] if it is none."""
    place, _, name = key.rpartition(".")
    if name in PLAIN and (name == ASKED or not place):
        return [KeyFacts(key, PLAIN[name], "", ())]
    described = [
        KeyFacts(key, fields[name], target, tuple(choices))
        for target, choices in all_keys.targets.get(place, {}).items()
        if name in (fields := describe_fields(target))
    ]
    known = key in all_keys.settings or key in all_keys.sections
    return described or (describe_key(all_keys, place) if known and place else [])


def default_value(all_keys: KeyCatalogue, key: str) -> Setting | None:
    """What a composition without overrides has; None where it has no such key. An interpolation is followed."""
    setting = root_setting(all_keys, key)
    other = re.fullmatch(r"\$\{([\w.]+)\}", str(setting.value)) if setting else None
    if setting is None or other is None:
        return setting
    source = root_setting(all_keys, other[1])
    if source is None:  # a section
        return replace(setting, file=f"= {other[1]}")
    return replace(source, key=key, file=f"= {other[1]} ({source.file})")


def root_setting(all_keys: KeyCatalogue, key: str) -> Setting | None:
    return next((one for one in all_keys.settings.get(key, []) if not one.choice), None)


def find_alias(all_keys: KeyCatalogue, key: str) -> str | None:
    """The key that a key inside an interpolated section is: norm.scope of selector.score.norm.scope."""
    parts = key.split(".")
    for length in range(len(parts) - 1, 0, -1):
        for setting in all_keys.settings.get(".".join(parts[:length]), []):
            if other := re.fullmatch(r"\$\{([\w.]+)\}", str(setting.value)):
                return ".".join([other[1], *parts[length:]])
    return None


def undocumented_keys(all_keys: KeyCatalogue) -> list[str]:
    """Keys and sections whose meaning is nowhere."""
    every = [*all_keys.settings, *all_keys.sections]
    return [key for key in every if not any(one.facts.meaning for one in describe_key(all_keys, key))]
