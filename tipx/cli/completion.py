"""What the shell offers at a TAB: names that the files under conf/ and in the runs folder tell.

It must be quick: no configuration is composed and no run is read, so that neither hydra, torch nor pandas is imported.
Nothing is printed and nothing is raised: what cannot be read is not offered. The shell evaluates what it is given, so
only names of plain characters are offered.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import typer

from tipx.errors import ConfigError
from tipx.files.package_data import package_folder
from tipx.files.yamls import read_yaml
from tipx.runs.mark import is_run

PLAIN = re.compile(r"[\w.@+,=/-]+", re.ASCII)
"""What means nothing to a shell."""
CONFIGS = {"eval": "eval"}
"""The file under conf/ that a command composes, where that is not train.yaml."""
LAST = "@last"
STATES = ("finished", "running", "stopped", "damaged")
Node = dict[str, Any]


# --- one for each kind of argument -----------------------------------------------------------------------------------


def complete_overrides(ctx: typer.Context, incomplete: str) -> list[str]:
    """`selector=soft_or` and `optim.lr=`, of the configuration that the command composes."""
    return fitting(override_words(ctx, incomplete), incomplete)


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Runs, groups, and @last."""
    return fitting(run_words(ctx), incomplete)


def complete_run_or_overrides(ctx: typer.Context, incomplete: str) -> list[str]:
    """The same, and overrides."""
    return fitting(chain(run_words(ctx), override_words(ctx, incomplete)), incomplete)


def complete_filters(ctx: typer.Context, incomplete: str) -> list[str]:
    """What `tipx runs` filters by, and `rm`."""
    own = chain(["rm"], (f"state={state}" for state in STATES), (f"group={group}" for group, _ in placed_runs(ctx)))
    return fitting(chain(own, override_words(ctx, incomplete)), incomplete)


def complete_sweep(ctx: typer.Context, incomplete: str) -> list[str]:
    """A sweep's name as the first word, then overrides."""
    own = ctx.params.get("config_dir")
    folders = [package_folder("sweeps"), *([Path(own) / "sweeps"] if own else [])]
    names = (name for folder in folders for name in yaml_names(folder)) if not typed_words(ctx) else ()
    return fitting(chain(names, override_words(ctx, incomplete)), incomplete)


def complete_report(ctx: typer.Context, incomplete: str) -> list[str]:
    """A report's name, or a group."""
    own = ctx.params.get("report_dir")
    folders = [package_folder("reports"), *([Path(own)] if own else [])]
    names = (name for folder in folders for name in yaml_names(folder))
    return fitting(chain(names, (group for group, _ in placed_runs(ctx))), incomplete)


def complete_group(ctx: typer.Context, incomplete: str) -> list[str]:
    """Groups of runs."""
    return fitting((group for group, _ in placed_runs(ctx)), incomplete)


# --- words -----------------------------------------------------------------------------------------------------------


def fitting(words: Iterable[str], incomplete: str) -> list[str]:
    """Those words that begin as what is typed, each once and in order; what cannot be looked up is not among them.

    Bash takes KEY=VALUE apart at =, and completes the part after it alone.
    """
    key = begun_key()
    if bash_words()[-2:-1] == ["@"]:  # of @la it would have the word after @, and replace the whole
        return []
    fits = set[str]()
    with suppress(OSError, ValueError):
        fits.update(word for word in words if word.startswith(key + incomplete) and PLAIN.fullmatch(word))
    return [word[len(key) :] for word in sorted(fits)]


def begun_key() -> str:
    """`selector=` where bash has taken `selector=so` apart, and "" elsewhere."""
    words = bash_words()
    if words[-1:] == ["="]:
        words.append("")
    return f"{words[-3]}=" if len(words) > 3 and words[-2] == "=" else ""


def bash_words() -> list[str]:
    """The words up to the one that is completed, as bash takes them apart: KEY, = and VALUE are three.

    It hands them over as the lines of COMP_WORDS. Empty in other shells, which leave a word whole.
    """
    at = os.environ.get("COMP_CWORD", "")
    if os.environ.get("_TIPX_COMPLETE") != "complete_bash" or not at.isdigit():
        return []
    return os.environ.get("COMP_WORDS", "").split("\n")[: int(at) + 1]


def typed_words(ctx: typer.Context) -> list[str]:
    """The words before the one that is completed, whole."""
    words = [*(ctx.params.get("words") or []), *(ctx.params.get("overrides") or [])]
    return "\n".join(words).replace("\n=\n", "=").split("\n") if words else []


# --- runs ------------------------------------------------------------------------------------------------------------


def run_words(ctx: typer.Context) -> Iterator[str]:
    """What names a run."""
    yield LAST
    yield from (name for pair in placed_runs(ctx) for name in pair)


def placed_runs(ctx: typer.Context) -> Iterator[tuple[str, str]]:
    """(group, name) of each run in the runs folder that is typed, or in the usual one."""
    typed = [word.partition("=")[2] for word in typed_words(ctx) if word.startswith("runs_dir=")]
    folder = Path(ctx.params.get("runs_dir") or (typed[-1] if typed else "runs"))
    for path in folder.glob("*/*"):
        if path.name[0] != "." and is_run(path):
            yield path.parent.name, path.name


# --- the configuration -----------------------------------------------------------------------------------------------


def override_words(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Overrides as far as what is typed asks for them: keys of the section that is begun, choices of one group.

    Where one key is left, the values that the files have come with it: a shell puts a blank behind a word that is
    alone.
    """
    begun = begun_key() + incomplete
    typed = begun.lstrip("+")
    mark = begun[: len(begun) - len(typed)]
    key, equals, values = typed.partition("=")
    own = ctx.params.get("config_dir")
    folders = [package_folder("conf"), *([Path(own)] if own else [])]
    if equals:
        before = values.rpartition(",")[0]  # of a sweep's several values the last is completed
        start = f"{mark}{key}={before}{',' if before else ''}"
        yield from (f"{start}{name}" for name in group_choices(folders, key))
        return
    root = read_node(folders[0] / f"{CONFIGS.get(str(ctx.info_name), 'train')}.yaml")
    choices = {group: group_choices(folders, group) for group in group_names(root) if group.startswith(key)}
    for name, value in chain(leaf_values(root, ""), section_values(folders, key.partition(".")[0])):
        if name.startswith(key):
            choices.setdefault(name, []).append(str(value))
    for name, there in choices.items():
        yield f"{mark}{name}="
        if len(choices) == 1:
            yield from (f"{mark}{name}={value}" for value in there)


def group_names(root: Node) -> list[str]:
    """Config groups of a configuration, with those inside them: selector, selector/score."""
    entries = [entry for entry in root.get("defaults") or [] if isinstance(entry, dict)]
    names = [str(name) for entry in entries for name in entry]
    conf = package_folder("conf")
    inside = [f"{name}/{folder.name}" for name in names for folder in sorted((conf / name).glob("*/"))]
    return [*names, *inside]


def group_choices(folders: Sequence[Path], group: str) -> list[str]:
    """What a config group may be."""
    if group.startswith("/") or ".." in group:
        return []
    return [name for folder in folders for name in yaml_names(folder / group)]


def section_values(folders: Sequence[Path], section: str) -> Iterator[tuple[str, Any]]:
    """(key, value) below a section, as the files of its group tell; what only some choices have is among them."""
    for folder in folders:
        for file in sorted((folder / section).rglob("*.yaml")) if section else ():
            inside = file.parent.relative_to(folder).as_posix().replace("/", ".")
            yield from leaf_values(read_node(file), f"{inside}.")


def leaf_values(node: Node, before: str) -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of each value."""
    for key, value in node.items():
        if key == "defaults" or str(key).startswith("_"):
            continue
        if isinstance(value, dict):
            yield from leaf_values(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def read_node(file: Path) -> Node:
    """The mapping in a file; {} for one that cannot be read."""
    try:
        return read_yaml(file, ConfigError, "")
    except ConfigError:
        return {}


def yaml_names(folder: Path) -> list[str]:
    """Names of the files of a folder, but for those that only others build on."""
    return sorted(file.stem for file in folder.glob("*.yaml") if file.name[0] != "_")
