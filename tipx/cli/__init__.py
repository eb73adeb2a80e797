"""The command line. Each command parses, calls and prints; heavy imports live inside the commands."""

import os
import sys

import typer
from click.exceptions import ClickException
from rich.console import Console

from tipx.cli import evaluate, listing, runs, show, tiny, train
from tipx.errors import TipxError

app = typer.Typer(
    name="tipx",
    help="Which tokens matter in on-policy distillation: train, evaluate and compare token-selection rules.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("runs")(runs.runs)
app.command("show")(show.show)
app.command("list")(listing.listing)
app.add_typer(tiny.app, name="tiny")


def main() -> None:
    """Entry point: a `TipxError` is one line and its exit code; a bug keeps its traceback."""
    # Waiting OpenMP threads that spin make two processes on two cores ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app(standalone_mode=False)
    except TipxError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except ClickException as error:
        complain(f"{error.format_message()}; see `tipx --help`")
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)


def complain(message: str) -> None:
    """One line on stderr, from the main process only."""
    if os.environ.get("RANK", "0") == "0":
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False)


def escape(message: str) -> str:
    """Brackets in a message are text, not rich markup."""
    return message.replace("[", r"\[")
