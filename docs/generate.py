"""docs/reference/: every key, number, file and command, from the code and conf/ that define them.

python docs/generate.py writes the pages, and prints how many keys are documented; with --check it writes nothing, and
ends with 1 where a page is not what it would write, or a key has no meaning.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from tipx.cli import app
from tipx.config.compose import ASKED
from tipx.config.fields import FieldFacts, describe_fields
from tipx.config.keys import PLAIN, ROOTS, KeyCatalogue, Mount, Setting, catalogue, default_value, undocumented_keys
from tipx.runs.file_keys import OF_RUN, OF_RUNS, OF_SWEEP, RunFile
from tipx.runs.metric_keys import DECLARED, MetricKey, split

REFERENCE = Path(__file__).parent / "reference"
Lines = Iterator[str]

# --- Markdown --------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Lines:
    """A pipe table without the columns that are empty in every row; nothing without rows."""
    if rows:
        filled = [i for i in range(len(head)) if any(row[i] for row in rows)]
        for row in (head, ["---"] * len(head), *rows):
            yield "| " + " | ".join(row[i] for i in filled) + " |"
        yield ""


def plain(text: str) -> str:
    """Text in which nothing is a mark of Markdown but code between backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part.replace("|", r"\|") if part.startswith("`") else re.sub(r"([*_<>|\[\]])", r"\\\1", part) for part in parts
    )


def code(text: str) -> str:
    """Code in a cell of a table."""
    return f"`{text}`".replace("|", r"\|") if text else ""


def shown(value: Any) -> str:
    """A value as it stands in YAML."""
    if value == "???":
        return "required"
    if isinstance(value, str) and value and "\n" not in value:
        return code(value)
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return code(f"[{', '.join(value)}]")
    return code(json.dumps(value, ensure_ascii=False))


# --- configuration ---------------------------------------------------------------------------------------------------

CONFIGURATION = """\
# Configuration keys

Every key of `tipx train` and `tipx eval`, of every choice of every config group. A key is typed as `KEY=VALUE`, a
choice as `GROUP=CHOICE`. `tipx explain KEY` says the same of one key, and `tipx show` prints the values of a command.

- *default* is the value without any override. A key without one belongs to a choice that is not the default.
- *with* lists other values, each with the choices that set them. A value `${ratio}` is that of the key `ratio`.
- *required* is a key that has no value: it must be typed.
- A range that is empty lets in every value of the type.

This page is made by `make docs` from the classes in `tipx/` and the files in `conf/`.
"""


def configuration() -> Lines:
    yield CONFIGURATION
    done: set[str] = set()
    for root, command in ROOTS.items():
        all_keys = catalogue(root)
        yield f"## `{command}`\n"
        yield from table(KEY_HEAD, [key_row(all_keys, None, [], key, facts) for key, facts in root_keys(all_keys)])
        again = [mount for mount in all_keys.mounts if mount.typed in done and mount in all_keys.defaults]
        if again:
            defaults = ", ".join(code(f"{mount.typed}={all_keys.defaults[mount]}") for mount in again)
            yield f"Other groups and their keys are those above. The defaults are {defaults}.\n"
        for mount in all_keys.mounts:
            if mount.typed not in done:
                yield from group_part(all_keys, mount)
        done |= {mount.typed for mount in all_keys.mounts}
    yield from spec_part("Sweep files", SWEEPS, "tipx.sweep.question.SweepFile")
    yield from spec_part("Report files", REPORTS, "tipx.report.spec.Report")
    yield "Each of `figures` has:\n"
    yield from table(SPEC_HEAD, spec_rows("tipx.report.spec.FigureSpec"))


KEY_HEAD = ("key", "type", "range", "default", "with", "meaning")
Pairs = list[tuple[str, FieldFacts]]


def root_keys(all_keys: KeyCatalogue) -> Pairs:
    """Keys and sections that no config group has."""
    packages = {mount.package for mount in all_keys.mounts}
    (target,) = all_keys.targets[""]
    fields = describe_fields(target) | PLAIN
    pairs: Pairs = []
    for name in dict.fromkeys(key.partition(".")[0] for key in all_keys.settings):
        if name not in packages:
            pairs += [(name, fields[name]), *class_keys(all_keys, name, *all_keys.targets.get(name, ()))]
    return pairs


def class_keys(all_keys: KeyCatalogue, place: str, *targets: str) -> Pairs:
    """The fields of the classes of a section, by their keys, but those that are a config group.

    Entries of a mapping, whose names the user gives, are one: `benchmark.parts.<name>`.
    """
    packages = {mount.package for mount in all_keys.mounts}
    above = place.rpartition(".")[0]
    named = place if above in all_keys.targets else f"{above}.<name>"
    pairs = [(f"{named}.{name}", facts) for target in targets for name, facts in describe_fields(target).items()]
    return [(key, facts) for key, facts in pairs if key not in packages]


def group_part(all_keys: KeyCatalogue, mount: Mount) -> Lines:
    """One config group: what it is, its choices, and the keys of each class that these are of."""
    names = all_keys.mounts[mount]
    yield f"### `{mount.typed}`\n"
    if meaning := group_meaning(all_keys, mount.package):
        yield f"{plain(meaning)}\n"
    default = all_keys.defaults.get(mount)
    if default not in (None, "None"):
        yield f"Default: `{mount.typed}={default}`.\n"
    first = next(other for other in all_keys.mounts if other.group == mount.group)
    if first == mount:
        rows = [(code(n), plain(all_keys.comment(mount.group, n)), brought_choices(all_keys, mount, n)) for n in names]
        yield from table(("choice", "what it is", "it also chooses"), rows)
    else:
        yield f"The choices of [`{first.typed}`](#{anchor(first.typed)}) that fit here: {', '.join(map(code, names))}."
        yield f"Their keys are those listed there, below `{mount.package}`.\n"
    every = {f"{mount.typed}={name}" for name in names}
    for took, pairs in keys_by_choice(all_keys, mount, first):
        if not every <= set(took):
            yield f"With {', '.join(code(choice.removeprefix(f'{mount.typed}=')) for choice in took)}:\n"
        yield from table(KEY_HEAD, [key_row(all_keys, mount, took, key, facts) for key, facts in pairs])


def brought_choices(all_keys: KeyCatalogue, mount: Mount, name: str) -> str:
    return ", ".join(code(f"{other.typed}={choice}") for other, choice in all_keys.brings(mount, name).items())


def anchor(heading: str) -> str:
    return re.sub(r"[^\w-]", "", heading.lower())


def group_meaning(all_keys: KeyCatalogue, package: str) -> str:
    """What the field says that a group fills."""
    place, _, name = package.rpartition(".")
    fields = [describe_fields(target) for target in all_keys.targets.get(place, {})]
    return next((one[name].meaning for one in fields if name in one), "")


def keys_by_choice(all_keys: KeyCatalogue, mount: Mount, first: Mount) -> list[tuple[list[str], Pairs]]:
    """Keys of a group with the choices that have them. Elsewhere than at its first place only what is not there too."""
    inner = [m.package for m in all_keys.mounts if m.package.startswith(f"{mount.package}.")]
    found: dict[tuple[str, ...], Pairs] = {}
    for place, targets in all_keys.targets.items():
        if not is_in(place, mount.package) or any(is_in(place, package) for package in inner):
            continue
        there = all_keys.targets.get(first.package + place.removeprefix(mount.package), {})
        for target, choices in targets.items():
            if mount == first or target not in there:
                own = [choice for choice in choices if choice.startswith(f"{mount.typed}=")]
                took = tuple(own or [choice for choice in choices if choice])
                asked = [(f"{place}.{ASKED}", PLAIN[ASKED])] if asks(all_keys, place, took) else []
                pairs = found.setdefault(took, [])
                pairs += [pair for pair in [*class_keys(all_keys, place, target), *asked] if pair not in pairs]
    merged: list[tuple[list[str], Pairs]] = []
    for took, pairs in found.items():
        same = next((choices for choices, others in merged if others == pairs), None)
        if same is not None:
            same += took
        elif pairs:
            merged.append((list(took), pairs))
    return merged


def is_in(place: str, section: str) -> bool:
    return f"{place}.".startswith(f"{section}.")


def asks(all_keys: KeyCatalogue, place: str, took: Sequence[str]) -> bool:
    """Whether one of some choices of a benchmark says how a model folder is asked."""
    keys = [key for key in all_keys.settings if key.startswith(f"{place}.{ASKED}.")]
    return any(setting.choice in took for key in keys for setting in all_keys.settings[key])


def key_row(
    all_keys: KeyCatalogue, mount: Mount | None, took: Sequence[str], key: str, facts: FieldFacts
) -> tuple[str, ...]:
    """A line of a table of keys, for those choices of a group; None and [] for what no group has."""
    own = f"{mount.typed}=" if mount else "="
    usual = default_value(all_keys, key) if is_default(all_keys, mount, took, key, facts) else None
    raw = {shown(one.value) for one in all_keys.settings.get(key, []) if usual and not one.choice}
    by_value: dict[str, list[str]] = {}
    for setting in all_keys.settings.get(key, []):
        if setting.choice and shown(setting.value) not in raw and fits(all_keys, mount, took, setting):
            by_value.setdefault(shown(setting.value), []).append(setting.choice)
    others = [f"{value}: {choice_list(all_keys, choices, own)}" for value, choices in by_value.items()]
    default = shown(usual.value) if usual else ""
    return (
        code(key),
        facts.values.type,
        plain(facts.values.range),
        default,
        "; ".join(others),
        plain(facts.meaning),
    )


def is_default(all_keys: KeyCatalogue, mount: Mount | None, took: Sequence[str], key: str, facts: FieldFacts) -> bool:
    """Whether the composition without overrides has the key with one of these choices, and of this class."""
    if mount in all_keys.defaults:
        return f"{mount.typed}={all_keys.defaults[mount]}" in took
    place, _, name = key.rpartition(".")
    targets = [target for target, choices in all_keys.targets.get(place, {}).items() if "" in choices]
    return mount is None or any(describe_fields(target).get(name) == facts for target in targets)


def fits(all_keys: KeyCatalogue, mount: Mount | None, took: Sequence[str], setting: Setting) -> bool:
    """Whether it is one of the choices that a key is told for, or brings one of them and gives another value."""
    if mount is None or setting.choice in took:
        return True
    group, _, name = setting.choice.partition("=")
    if group == mount.typed:
        return False
    other = next(one for one in all_keys.mounts if one.typed == group)
    brought = f"{mount.typed}={all_keys.brings(other, name).get(mount, all_keys.defaults.get(mount))}"
    same = any(s.choice == brought and s.value == setting.value for s in all_keys.settings[setting.key])
    return brought in took and not same


def choice_list(all_keys: KeyCatalogue, choices: Sequence[str], own: str) -> str:
    """Choices by their names, those of other groups as they are typed; all of a group are one."""
    words: list[str] = []
    for mount, names in all_keys.mounts.items():
        of_group = [f"{mount.typed}={name}" for name in names]
        here = [choice for choice in choices if choice in of_group]
        words += [f"every {mount.typed}"] if len(here) == len(of_group) > 1 else [one.removeprefix(own) for one in here]
    return ", ".join(map(plain, words))


SWEEPS = """\
A YAML file in `sweeps/`, or one of your own: `tipx sweep mine.yaml`. Its first comment line says what it asks.
"""
REPORTS = """\
A YAML file in `reports/`, or one of your own: `tipx report mine.yaml`. Its first comment line says what it shows.
"""
SPEC_HEAD = ("key", "type", "range", "default", "meaning")


def spec_part(title: str, text: str, target: str) -> Lines:
    yield f"## {title}\n"
    yield text
    yield from table(SPEC_HEAD, spec_rows(target))


def spec_rows(target: str) -> list[tuple[str, ...]]:
    return [
        (
            code(name),
            f.values.type,
            plain(f.values.range),
            "required" if f.default is None else code(f.default),
            plain(f.meaning),
        )
        for name, f in describe_fields(target).items()
    ]


# --- metrics ---------------------------------------------------------------------------------------------------------

METRICS = """\
# The keys of metrics.jsonl

Every step of a run adds one line to `metrics.jsonl`; wandb gets the same numbers. Step 0 is there where something was
measured before training. Files of older runs are read by the names of today, and old names can be typed.

- *monitored steps*: every `loop.monitor_every` steps, and the last; and any other step that knows the number without
  scoring more.
- *evaluations*: before training, every `loop.eval_every` steps, and after the last step (`loop.eval_last`).
- *held-out measurements*: before training, every `heldout.every` steps, and after the last.
- *quadrants*: q1 is unsure and wrong, q2 unsure and agreeing, q3 sure and wrong, q4 solved. A token is unsure where the
  student's entropy is above its quantile in the step (`quadrants.entropy_quantile`), and wrong where the divergence is
  above its own (`quadrants.divergence_quantile`).

This page is made by `make docs` from `tipx/runs/metric_keys.py`.
"""


def metrics() -> Lines:
    yield METRICS
    yield from table(("key", "unit, range", "meaning", "when", "older name"), [metric_row(one) for one in DECLARED])


def metric_row(one: MetricKey) -> tuple[str, ...]:
    part = split(one.name)[1]
    listed = f" (`<{part}>`: {', '.join(one.parts)})" if one.parts else ""
    return code(one.name), f"{one.unit.text}, {one.unit.range}", f"{one.meaning}{listed}", one.when, code(one.was or "")


# --- files -----------------------------------------------------------------------------------------------------------

FILES = """\
# The files of a run, of a result and of a sweep

A run is the folder `runs/<group>/<name>-<hash>/`. `<step>` is written with six digits, `000150`. JSON files are whole
or not there. Numbers that are not known are null. A key `a.b` is the entry `b` of `a`. A key `a[].b` is that of each
entry of a list, and `a.*` is all that is in `a`.

This page is made by `make docs` from `tipx/runs/file_keys.py`.
"""


def files() -> Lines:
    yield FILES
    for title, some in (("A run", OF_RUN), ("A sweep's folder", OF_SWEEP), ("The runs folder", OF_RUNS)):
        yield f"## {title}\n"
        yield from table(("file", "what it is"), [(code(file.place), file.meaning) for file in some])
        for file in some:
            if file.keys:
                yield f"### `{file.place}`\n"
                yield from table(("key", "meaning", "when"), [file_row(key) for key in file.keys])


def file_row(key: Any) -> tuple[str, ...]:
    return code(key.name), plain(key.meaning), plain(key.when)


# --- commands --------------------------------------------------------------------------------------------------------

COMMANDS = """\
# Commands

`tipx COMMAND --help` says the same. An override is `KEY=VALUE`, in Hydra's grammar; the keys are in
[configuration](configuration.md).

This page is made by `make docs` from the commands themselves.
"""


def commands() -> Lines:
    yield COMMANDS
    yield from command_part(typer.main.get_command(app), "tipx")


def command_part(command: Any, words: str) -> Lines:
    """A command and those below it."""
    inner = getattr(command, "commands", {})
    if not inner:
        context = command.make_context(words, [], resilient_parsing=True)
        yield f"## `{words}`\n"
        yield f"{plain(' '.join((command.help or '').split()))}\n"
        yield f"Usage: `{words} {' '.join(command.collect_usage_pieces(context))}`\n"
        params = [param for param in command.params if param.name != "help"]
        arguments = [argument_row(one) for one in params if one.param_type_name == "argument"]
        options = [option_row(one, context) for one in params if one.param_type_name == "option" and not one.hidden]
        yield from table(("argument", "default", "meaning"), arguments)
        yield from table(("option", "value", "default", "meaning"), options)
    for name, one in inner.items():
        yield from command_part(one, f"{words} {name}")


TYPES = {"<str>": "TEXT", "<Path>": "PATH", "<int>": "NUMBER", "<int range>": "NUMBER", "<float>": "NUMBER"}


def argument_row(param: Any) -> tuple[str, ...]:
    default = "required" if param.required else default_of(param)
    return code(param.metavar or param.name.upper()), default, plain(param.help or "")


def option_row(param: Any, context: Any) -> tuple[str, ...]:
    names = ", ".join(code(name) for name in (*param.opts, *param.secondary_opts))
    kind = param.display_type(context)
    value = "" if param.is_flag else code(param.metavar or TYPES.get(kind, kind.strip("<>")))
    default = "required" if param.required else "" if param.is_flag and not param.default else default_of(param)
    return names, value, default, plain(param.help or "")


def default_of(param: Any) -> str:
    default = param.default
    if isinstance(default, bool):
        return code(param.opts[0] if default else param.secondary_opts[0])
    return "" if default is None or default == [] else shown(str(getattr(default, "value", default)))


# --- all of them -----------------------------------------------------------------------------------------------------

PAGES: dict[str, Callable[[], Lines]] = {
    "configuration.md": configuration,
    "metrics.md": metrics,
    "files.md": files,
    "cli.md": commands,
}


def page_text(name: str) -> str:
    """A page as it is to be."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(PAGES[name]()).strip() + "\n")


def without_meaning() -> dict[str, list[str]]:
    """Keys of which nothing says what they are, by page."""
    specs = ("tipx.sweep.question.SweepFile", "tipx.report.spec.Report", "tipx.report.spec.FigureSpec")
    fields = [field for target in specs for field in describe_fields(target).values()]
    keys = [key for root in ROOTS for key in undocumented_keys(catalogue(root))]
    return {
        "configuration.md": [*keys, *(field.name for field in fields if not field.meaning)],
        "metrics.md": [one.name for one in DECLARED if not one.meaning],
        "files.md": [key.name for file in ALL_FILES for key in file.keys if not key.meaning],
        "cli.md": [words for words, help_text in command_words(typer.main.get_command(app), "tipx") if not help_text],
    }


ALL_FILES: tuple[RunFile, ...] = (*OF_RUN, *OF_SWEEP, *OF_RUNS)


def command_words(command: Any, words: str) -> Iterator[tuple[str, str]]:
    """Every command, argument and option with its help."""
    for name, one in getattr(command, "commands", {}).items():
        yield from command_words(one, f"{words} {name}")
    if not hasattr(command, "commands"):
        yield words, command.help or ""
        yield from ((f"{words} {param.opts[0]}", getattr(param, "help", "") or "") for param in command.params)


def count_keys() -> dict[str, int]:
    """How many keys each page is about."""
    every = {key for root in ROOTS for key in (*catalogue(root).settings, *catalogue(root).sections)}
    specs = ("tipx.sweep.question.SweepFile", "tipx.report.spec.Report", "tipx.report.spec.FigureSpec")
    return {
        "configuration.md": len(every) + sum(len(describe_fields(target)) for target in specs),
        "metrics.md": len(DECLARED),
        "files.md": sum(len(file.keys) for file in ALL_FILES),
        "cli.md": len(list(command_words(typer.main.get_command(app), "tipx"))),
    }


def main(*, check: bool) -> int:
    counts, missing, wrong = count_keys(), without_meaning(), 0
    for name in PAGES:
        file, text = REFERENCE / name, page_text(name)
        stale = not file.exists() or file.read_text(encoding="utf-8") != text
        if stale and not check:
            file.write_text(text, encoding="utf-8")
        without = ", ".join(missing[name]) or "none"
        print(f"{name}: documented keys {counts[name] - len(missing[name])}, undocumented keys {without}")  # noqa: T201
        if check and stale:
            print(f"{name}: not as `make docs` writes it")  # noqa: T201
        wrong += bool(missing[name]) or (check and stale)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
