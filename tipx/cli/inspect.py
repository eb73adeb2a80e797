"""tipx inspect"""

from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.options import PATH, PLACE, ConfigDir, RunsDir

RUN = Annotated[str, typer.Argument(**PLACE, metavar="RUN", help="A run: path, name or hash")]


def inspect(
    run: RUN,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[step=N] [rollout=N] [RULES]", help="A sampled step, a rollout, or rules to try"),
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Rules to try: selector=soft_or,q3 ratio=0.2")] = False,
    text: Annotated[bool, typer.Option("--text", help="One rollout in the terminal")] = False,
    out: Annotated[Path | None, typer.Option(**PATH, help="Where the page goes [RUN/inspect/STEP.html]")] = None,
    config_dir: ConfigDir = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """See a step's tokens: a page of its rollouts, coloured by entropy and divergence, with what the rule kept."""
    from tipx.display.console import console
    from tipx.inspect.words import Asked
    from tipx.runs.reader import open_run

    asked = Asked.of(words or [], rules=compare)
    step = open_run(run, runs_dir).sampled(asked.step)
    if text:
        from tipx.inspect.text import rollout_text

        console().print(rollout_text(step, asked.rollout), soft_wrap=False)
        return
    from tipx.inspect.job import make_page

    path = make_page(step, asked.overrides, config_dir, out)
    console().print(f"page     {path}", soft_wrap=True, highlight=False)
