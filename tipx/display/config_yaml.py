"""The configuration as YAML, with the origin of each value beside it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rich.text import Text

from tipx import config
from tipx.display.console import COMMANDS, clean_text, escape_text
from tipx.errors import ConfigError
from tipx.runs.find import need_run
from tipx.runs.reader import StoredRun

WIDEST = 48
"""Where comments start at most; a longer line has its comment two blanks after its end."""


class ShownConfig(NamedTuple):
    """A resolved configuration, the origin of every leaf by dotted key as far as it is known, and what it is of."""

    tree: dict[str, Any]
    origins: dict[str, str]
    title: str


def config_of_overrides(overrides: Sequence[str], config_dir: Path | None) -> ShownConfig:
    """What `tipx train` would run with these overrides and store; text from the environment stays unread, as there."""
    tree = config.resolve_for_storage(config.load(overrides, "train", config_dir))
    origins = leaf_origins(tree, config.find_origins(overrides, "train", config_dir))
    return ShownConfig(tree, origins, " ".join(["tipx train", *overrides]))


def config_of_run(run: StoredRun, config_dir: Path | None) -> ShownConfig:
    """What a run was made with, as its config.yaml has it; an origin only where that place still gives the value."""
    try:
        now = config.resolve_for_storage(config.load(run.overrides, "train", config_dir))
        origins = leaf_origins(now, config.find_origins(run.overrides, "train", config_dir))
    except ConfigError:
        now, origins = {}, {}
    then, today = dict(leaves(run.tree)), dict(leaves(now))
    same = {key: place for key, place in origins.items() if key in then and then[key] == today[key]}
    return ShownConfig(run.tree, same, str(run.path))


def named_run(words: Sequence[str], runs_dir: Path) -> StoredRun | None:
    """The run that one word names; None for overrides, RunError for a word that is neither."""
    if len(words) != 1 or "=" in words[0] or words[0].startswith("~"):
        return None
    return StoredRun(need_run(words[0], runs_dir, also=" and no KEY=VALUE"))


def leaf_origins(tree: dict[str, Any], origins: Mapping[str, str]) -> dict[str, str]:
    """Where each leaf is from. A value under an interpolated section is from where the section is."""
    places = {key: next((origins[k] for k in upwards(key) if k in origins), "") for key, _ in leaves(tree)}
    return {key: place for key, place in places.items() if place}


def upwards(key: str) -> list[str]:
    """a.b.c, a.b, a."""
    parts = key.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything that is no mapping, in order."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def values_and_origins(shown: ShownConfig) -> dict[str, dict[str, Any]]:
    """Value and origin of every leaf by dotted key; None for an origin that is not known."""
    return {key: {"value": value, "origin": shown.origins.get(key)} for key, value in leaves(shown.tree)}


def config_yaml(shown: ShownConfig) -> Text:
    """The configuration as YAML, origins as comments, bold where the command line gave the value.

    YAML reads the text back as the same tree. Each leaf is one line, however long. Comments of a section are in one
    column, as far as its lines are not much longer than others.
    """
    text = Text(f"# {comment_text(shown.title)}\n")
    for key, value in shown.tree.items():
        lines = list(yaml_lines({key: value}, shown.origins))
        column = max((len(line) for line, place in lines if place and len(line) <= WIDEST), default=0)
        for line, place in lines:
            comment = f"{' ' * (column - len(line))}  # {comment_text(place)}" if place else ""
            text.append(f"{line}{comment}\n", "bold" if "command line" in place else None)
    return text


def comment_text(text: str) -> str:
    """In one line: an override and a folder's name may hold the end of one."""
    return clean_text(" ".join(text.splitlines()))


def yaml_lines(
    tree: Mapping[str, Any], origins: Mapping[str, str], above: str = "", indent: str = ""
) -> Iterator[tuple[str, str]]:
    """(a line of YAML, the origin of its value or "")."""
    for key, value in tree.items():
        head = f"{indent}{yaml_text(key)}:"
        if isinstance(value, dict) and value:
            yield head, ""
            yield from yaml_lines(value, origins, f"{above}{key}.", f"{indent}  ")
        else:
            yield f"{head} {yaml_text(value)}", origins.get(f"{above}{key}", "")


def yaml_text(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.dump(value, Dumper=LineDumper, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return escape_text(text.removesuffix("\n").removesuffix("\n..."))


class LineDumper(yaml.SafeDumper):
    """Writes a value out where it stands for the second time too."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Text in one line, and in quotes where only OmegaConf would take it for a number, as 1e-3."""
    special = COMMANDS.search(text) or "\t" in text or text.splitlines() not in ([], [text])
    number = re.fullmatch(r"[-+]?[\d._]+(e[-+]?\d+)?", text, re.IGNORECASE)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if special or number else None)


LineDumper.add_representer(str, represent_text)
