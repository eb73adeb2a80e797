"""tipx tiny"""

from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.options import PATH

DIR = PATH | {"metavar": "DIR"}

app = typer.Typer(help="The embedded pairs.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """The embedded pairs: a teacher and a student small enough for a laptop, and two that use tools."""


@app.command()
def build(
    out: Annotated[Path, typer.Argument(**DIR, help="An empty or new folder")] = Path("tiny_pair"),
    seed: Annotated[int, typer.Option(min=0, max=10**6, help="Another seed makes another pair")] = 0,
) -> None:
    """Train the embedded teacher and student again from the seed (a quarter of an hour on one core).

    `tipx tiny build my_pair --seed 1`
    """
    from tipx.embedded.arithmetic.build import ARITHMETIC
    from tipx.embedded.build import build_pair

    build_pair(ARITHMETIC, out, seed)


@app.command()
def agents(
    out: Annotated[Path, typer.Argument(**DIR, help="An empty or new folder")] = Path("tiny_agents"),
    seed: Annotated[int, typer.Option(min=0, max=10**6, help="Another seed makes another pair")] = 0,
) -> None:
    """Train the embedded agents again from the seed (some minutes on one core).

    `tipx tiny agents my_agents --seed 1`
    """
    from tipx.embedded.agent.build import AGENTS
    from tipx.embedded.build import build_pair

    build_pair(AGENTS, out, seed)
