"""tipx inspect"""

from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.options import PATH, ConfigDir, RunName, RunsDir, spell_run, take_runs_dir


def inspect(
    run: RunName,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="step=N|rollout=N|RULES", help="A sampled step, a rollout for --text, rules for --compare"
        ),
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Rules to try: selector=soft_or,q3 ratio=0.2")] = False,
    text: Annotated[bool, typer.Option("--text", help="One rollout in the terminal")] = False,
    out: Annotated[
        Path | None, typer.Option(**PATH, help="Where the page goes, by default RUN/inspect/STEP.html")
    ] = None,
    config_dir: ConfigDir = None,
    runs_dir: RunsDir = None,
) -> None:
    """See a step's tokens: a page of its rollouts, coloured by entropy and divergence, with what the rule kept.

    `tipx inspect @last --compare selector=soft_or,q3_only ratio=0.2`
    """
    from tipx.display.console import console
    from tipx.inspect.words import Asked
    from tipx.runs.reader import open_run

    rest, place = take_runs_dir(words, runs_dir)
    asked = Asked.of(rest, rules=compare)
    step = open_run(spell_run(run, place), place).sampled(asked.step)
    if text:
        from tipx.inspect.text import rollout_text

        console().print(rollout_text(step, asked.rollout), soft_wrap=False)
        return
    from tipx.inspect.job import make_page

    path = make_page(step, asked.overrides, config_dir, out)
    console().print(f"page     {path}", soft_wrap=True, highlight=False)
