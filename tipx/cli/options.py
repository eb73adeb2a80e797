"""Arguments that several commands share, and what every path and name must be."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tipx.cli.completion import complete_overrides, complete_run
from tipx.errors import ConfigError
from tipx.files.names import wrong_name, wrong_path, wrong_words


def path(text: Any) -> Path:
    """A path; raises BadParameter for a blank one, and for what no file system takes."""
    if wrong := wrong_path(str(text)):
        raise typer.BadParameter(wrong)
    return Path(text)


def place(text: str) -> str:
    """A path, or a name that stands for one, as it was typed; raises BadParameter."""
    path(text)
    return text


def group(text: str) -> str:
    """The name of a folder; raises BadParameter."""
    if wrong := wrong_name(text):
        raise typer.BadParameter(wrong)
    return text


def words(text: str) -> str:
    """Keys and the like; raises BadParameter for blank text."""
    if wrong := wrong_words(text):
        raise typer.BadParameter(wrong)
    return text


PATH: Any = {"parser": path, "metavar": "PATH"}
PLACE: Any = {"parser": place}
GROUP: Any = {"parser": group, "metavar": "NAME"}
WORDS: Any = {"parser": words, "metavar": "TEXT"}
"""What `typer.Option` is told of each."""

RUN_HELP = "A run: its path, name, beginning or hash, @last, or a group for its newest run"
RunName = Annotated[str, typer.Argument(**PLACE, metavar="RUN", help=RUN_HELP, autocompletion=complete_run)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Hydra overrides, e.g. selector=q3_only ratio=0.1 optim.lr=5e-4", autocompletion=complete_overrides
    ),
]
RunsDirWords = Annotated[list[str] | None, typer.Argument(metavar="runs_dir=PATH", help="As --runs-dir")]
ConfigDir = Annotated[Path | None, typer.Option(**PATH, help="A folder of your own YAML, laid out like conf/")]
RunsDir = Annotated[
    Path | None, typer.Option(**PATH, help="Where runs are kept, by default in runs; runs_dir=PATH is the same")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV on standard output")]


# --- --runs-dir PATH and runs_dir=PATH, which are the same -----------------------------------------------------------

RUNS = Path("runs")
"""Where runs are kept if nothing else is said."""
RUNS_WORD = re.compile(r"\+{0,2}runs_dir=(.*)", re.DOTALL)
PLAIN_PATH = re.compile(
    r"(?!(null|true|false|inf|nan)$)(\.{0,2}/|[A-Za-z_])([\w./ -]*[\w./-])?", re.ASCII | re.IGNORECASE
)
"""A path that Hydra reads as it is."""
QUOTE = "\\'"
"""A quote inside quotes, for Hydra."""


def add_runs_dir(words: Sequence[str] | None, runs_dir: Path | None) -> list[str]:
    """Overrides with `runs_dir=PATH` for `--runs-dir PATH`; raises ConfigError where both are typed and differ."""
    overrides = list(words or [])
    if runs_dir is None or typed_runs_dir(overrides, runs_dir) is not None:
        return overrides
    text = str(runs_dir)
    quoted = text if PLAIN_PATH.fullmatch(text) else "'" + text.replace("'", QUOTE) + "'"
    return [*overrides, f"runs_dir={quoted}"]


def take_runs_dir(words: Sequence[str] | None, runs_dir: Path | None) -> tuple[list[str], Path]:
    """(the words without `runs_dir=PATH`, the folder of runs); raises ConfigError as `add_runs_dir` does."""
    typed = typed_runs_dir(words or [], runs_dir)
    rest = [word for word in words or [] if not RUNS_WORD.fullmatch(word)]
    return rest, typed if typed is not None else runs_dir or RUNS


def typed_runs_dir(words: Sequence[str], runs_dir: Path | None) -> Path | None:
    """PATH of `runs_dir=PATH` among words, the last one; raises ConfigError if `runs_dir` is another."""
    values = [unquote(match[1]) for word in words if (match := RUNS_WORD.fullmatch(word))]
    if not values:
        return None
    value = fill_environment(values[-1])
    if runs_dir is not None and Path(value) != runs_dir:
        raise ConfigError(f"runs_dir={value} and --runs-dir {runs_dir}: expected one folder, got two; leave one out")
    if wrong := wrong_path(value):
        raise ConfigError(f"runs_dir: {wrong}; give it as runs_dir=/path/to/runs")
    return Path(value)


def unquote(text: str) -> str:
    """Text that Hydra would read, without its quotes."""
    return text[1:-1].replace(QUOTE, "'") if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def runs_option(runs_dir: Path) -> str:
    """What a hint adds to a command that reads runs: nothing where they are kept by default."""
    return "" if runs_dir == RUNS else f" --runs-dir {shlex.quote(str(runs_dir))}"


def fill_environment(text: str) -> str:
    """A path with the variables of `${oc.env:NAME}`, as Hydra reads it; raises ConfigError for one that is not set."""
    if "${" not in text:
        return text
    from tipx.runs.place import with_environment

    try:
        return str(with_environment(text))
    except KeyError as error:
        raise ConfigError(f"runs_dir={text}: the environment has no {error}; set it, or give a path") from error


def refuse_words(words: Sequence[str], command: str) -> None:
    """Raises ConfigError for words after a command that takes none but `runs_dir=PATH`."""
    if words:
        raise ConfigError(f"{words[0]!r}: expected nothing more than runs_dir=PATH; see `tipx {command} --help`")


def spell_run(name: str, runs_dir: Path) -> str:
    """The path of the run that `@last` or a group stands for, which is said on standard error; any other name as it is.

    Raises RunError for `@last` where there is no run.
    """
    from tipx.display.console import console
    from tipx.runs.find import find_newest
    from tipx.signals import is_main

    run = find_newest(name, runs_dir)
    if run is None:
        return name
    if is_main():
        console(stderr=True).print(f"{name} is {run.path}", highlight=False, soft_wrap=True)
    return str(run.path)
