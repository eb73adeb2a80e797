"""tipx tokens"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.options import PATH, RunName, RunsDir, RunsDirWords, refuse_words, spell_run, take_runs_dir


class Format(StrEnum):
    """How a table is printed."""

    TABLE = "table"
    MARKDOWN = "markdown"
    CSV = "csv"


def tokens(
    run: RunName,
    words: RunsDirWords = None,
    *,
    ngrams: Annotated[int, typer.Option(min=1, max=3, help="Up to so many tokens together")] = 2,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="Rows for each quadrant and length")] = 10,
    form: Annotated[Format, typer.Option("--format", help="For the terminal, a document, or a program")] = Format.TABLE,
    plot: Annotated[Path | None, typer.Option(**PATH, help="Where a picture of shares over training goes")] = None,
    runs_dir: RunsDir = None,
) -> None:
    """The tokens and n-grams most often in each quadrant, over all sampled steps of a run.

    An n-gram counts where its last token is. first, last: its share of the quadrant at the first and last sampled step.

    `tipx tokens @last --top 20`
    """
    from tipx.display.console import console
    from tipx.inspect.report import print_tokens
    from tipx.runs.reader import open_run

    rest, place = take_runs_dir(words, runs_dir)
    refuse_words(rest, "tokens")
    print_tokens(console(), open_run(spell_run(run, place), place), ngrams, top, form.value, plot)
