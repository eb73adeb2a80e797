"""tipx tokens"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.options import (
    PATH,
    AsCsv,
    AsJson,
    RunName,
    RunsDir,
    RunsDirWords,
    refuse_words,
    spell_run,
    take_runs_dir,
)


class Format(StrEnum):
    """How a table is printed."""

    TABLE = "table"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"


def tokens(  # noqa: PLR0913 - each is an option of its own
    run: RunName,
    words: RunsDirWords = None,
    *,
    ngrams: Annotated[int, typer.Option(min=1, max=3, help="Up to so many tokens together")] = 2,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="Rows for each quadrant and length")] = 10,
    form: Annotated[
        Format | None, typer.Option("--format", help="For the terminal, a document, or a program [table]")
    ] = None,
    plot: Annotated[Path | None, typer.Option(**PATH, help="Where a picture of shares over training goes")] = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """The tokens and n-grams most often in each quadrant, over all sampled steps of a run.

    An n-gram counts where its last token is. first, last: its share of the quadrant at the first and last sampled step.

    `tipx tokens @last --top 20`
    """
    from tipx.errors import ConfigError
    from tipx.inspect.report import print_tokens
    from tipx.runs.reader import open_run

    flags = {f"--format {form}": form, "--json": as_json and Format.JSON, "--csv": as_csv and Format.CSV}
    asked = {flag: wanted for flag, wanted in flags.items() if wanted}
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)}: expected one of them, got {len(asked)}")
    chosen = next(iter(asked.values()), Format.TABLE)
    rest, place = take_runs_dir(words, runs_dir)
    refuse_words(rest, "tokens")
    print_tokens(open_run(spell_run(run, place), place), ngrams, top, chosen.value, plot)
