"""The command line. Each command parses, calls and prints; heavy imports live inside the commands."""

import os
import sys
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from tipx.cli import (
    compare,
    data,
    evaluate,
    export,
    inspect,
    listing,
    memory,
    preflight,
    report,
    runs,
    show,
    sweep,
    tiny,
    tokens,
    train,
)
from tipx.errors import TipxError
from tipx.names import not_unicode

app = typer.Typer(
    name="tipx",
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
app.command("inspect")(inspect.inspect)
app.command("tokens")(tokens.tokens)
app.command("export")(export.export)
app.command("runs")(runs.runs)
app.command("report")(report.report)
app.command("show")(show.show)
app.command("memory")(memory.memory)
app.command("list")(listing.listing)
app.add_typer(data.app, name="data")
app.add_typer(tiny.app, name="tiny")

# Typer has its own copy of click since 0.2x and names none of its bases but through this one: UsageError.
UsageError: Any = typer.BadParameter.__bases__[0]


def main() -> None:
    """Entry point: a `TipxError` is one line and its exit code; a bug keeps its traceback."""
    # Waiting OpenMP threads that spin make two processes on two cores ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if odd := next((word for word in sys.argv[1:] if not_unicode(word)), None):
        complain(f"{odd[:80]!r}: expected UTF-8; type it in a terminal whose locale is UTF-8")
        sys.exit(2)
    try:
        # Typer gives back the code with which a command would exit: that of --help, or of Ctrl-C.
        code = app(standalone_mode=False)
    except TipxError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except UsageError as error:
        # Without arguments the help has been shown, and there is nothing to add.
        if text := error.format_message():
            complain(f"{text.rstrip('.')}; see `tipx --help`")
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    if isinstance(code, int) and code:
        sys.exit(code)


def complain(message: str) -> None:
    """One line on stderr, from the main process only, whatever a library put into the message."""
    if os.environ.get("RANK", "0") == "0":
        line = Text.assemble(("error:", "bold red"), " ", " ".join(line.strip() for line in message.splitlines()))
        Console(stderr=True, soft_wrap=True).print(line)
