"""tipx tokens"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.inspect import RUN
from tipx.cli.options import PATH, RunsDir


class Format(StrEnum):
    """How a table is printed."""

    TABLE = "table"
    MARKDOWN = "markdown"
    CSV = "csv"


def tokens(
    run: RUN,
    ngrams: Annotated[int, typer.Option(min=1, max=3, help="Up to so many tokens together")] = 2,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="Rows for each quadrant and length")] = 10,
    form: Annotated[Format, typer.Option("--format", help="For the terminal, a document, or a program")] = Format.TABLE,
    plot: Annotated[Path | None, typer.Option(**PATH, help="Where a picture of shares over training goes")] = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """The tokens and n-grams most often in each quadrant, over all sampled steps of a run.

    An n-gram counts where its last token is. first, last: its share of the quadrant at the first and last sampled step.
    """
    from tipx.display.console import console
    from tipx.inspect.report import print_tokens
    from tipx.runs.reader import open_run

    print_tokens(console(), open_run(run, runs_dir), ngrams, top, form.value, plot)
