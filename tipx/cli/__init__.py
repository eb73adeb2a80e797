"""The command line. Each command parses, calls and prints; heavy imports live inside the commands."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from tipx.cli import (
    compare,
    data,
    doctor,
    evaluate,
    explain,
    export,
    inspect,
    listing,
    memory,
    preflight,
    publish,
    report,
    runs,
    show,
    sweep,
    tiny,
    tokens,
    train,
    watch,
)
from tipx.display.console import console, guard_streams
from tipx.errors import Interrupted, TipxError
from tipx.files.names import not_unicode
from tipx.signals import at_once, is_main, set_over


class Commands(TyperGroup):
    """Some commands have a name of two words, beside one whose own words are anything: `tipx runs rm`, `tipx runs`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of the first two words, if there is one, or of the first."""
        pair = " ".join(args[:2])
        return super().resolve_command(ctx, [pair, *args[2:]] if pair in self.commands else args)


app = typer.Typer(
    name="tipx",
    cls=Commands,
    help="Which tokens matter in on-policy distillation: train, evaluate and compare token-selection rules.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("preflight")(preflight.preflight)
app.command("eval")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("sweep")(sweep.sweep)
app.command("watch")(watch.watch)
app.command("inspect")(inspect.inspect)
app.command("tokens")(tokens.tokens)
app.command("export")(export.export)
app.command("publish")(publish.publish)
app.command("runs")(runs.runs)
app.command("runs rm")(runs.remove)
app.command("report")(report.report)
app.command("show")(show.show)
app.command("explain")(explain.explain)
app.command("memory")(memory.memory)
app.command("list")(listing.listing)
app.command("doctor")(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(tiny.app, name="tiny")

# Typer has its own copy of click since 0.2x and names none of its bases but through this one: UsageError.
UsageError: Any = typer.BadParameter.__bases__[0]


WORK = {"train", "eval", "sweep", "export", "publish", "data", "tiny"}
"""Commands that are there for what they do: a display that breaks does not stop them."""
SHOWING = {"--help", "-h", "--dry-run"}


def main() -> None:
    """Entry point: a `TipxError` is one line and its exit code; a bug keeps its traceback."""
    # Waiting OpenMP threads that spin make two processes on two cores ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if odd := next((word for word in sys.argv[1:] if not_unicode(word)), None):
        complain(f"{odd[:80]!r}: expected UTF-8; type it in a terminal whose locale is UTF-8")
        sys.exit(2)
    args = sys.argv[1:]
    needed = args[:1] == [] or args[0] not in WORK or not SHOWING.isdisjoint(args)
    with at_once(args), reported(), guard_streams(needed=needed):
        code = app(standalone_mode=False)
        if isinstance(code, int) and code:
            sys.exit(code)


@contextmanager
def reported() -> Iterator[None]:
    """Errors that are a user's to know of, as a line and an exit code."""
    try:
        yield
    except TipxError as error:
        set_over()
        complain(str(error))
        if isinstance(error, Interrupted) and "RANK" in os.environ:
            os._exit(error.exit_code)  # without parting from the others, who may be gone
        sys.exit(error.exit_code)
    except UsageError as error:
        # Without arguments the help has been shown, and there is nothing to add.
        if text := error.format_message():
            complain(f"{text.rstrip('.')}; see `{' '.join(['tipx', *command_words(error.ctx)])} --help`")
        sys.exit(2)
    except typer.Abort:
        sys.exit(1)


def command_words(ctx: Any) -> list[str]:
    """`data pull` of the command that is being read; nothing where none is known yet."""
    return [] if ctx is None or ctx.parent is None else [*command_words(ctx.parent), str(ctx.info_name)]


def complain(message: str) -> None:
    """One line on stderr, from the main process only, whatever a library put into the message."""
    if is_main():
        line = Text.assemble(("error:", "bold red"), " ", " ".join(line.strip() for line in message.splitlines()))
        console(stderr=True, soft_wrap=True).print(line)
