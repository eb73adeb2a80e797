"""tipx list"""

from enum import StrEnum
from typing import Annotated

import typer

from tipx.cli.options import ConfigDir


class Kind(StrEnum):
    """What can be listed: config groups under names a user would try."""

    MODELS = "models"
    SELECTORS = "selectors"
    BENCHMARKS = "benchmarks"
    DATA = "data"
    HELDOUT = "heldout"
    DIVERGENCES = "divergences"
    EXPERIMENTS = "experiments"


GROUPS = {Kind.DATA: "data"} | {kind: kind.value.removesuffix("s") for kind in Kind if kind is not Kind.DATA}


def listing(
    kind: Annotated[Kind | None, typer.Argument(help="Leave out for all")] = None, config_dir: ConfigDir = None
) -> None:
    """List models, selectors, benchmarks and more, with a line on each."""
    from rich.console import Console
    from rich.table import Table

    from tipx.config import describe, options

    for one in [kind] if kind else Kind:
        table = Table(
            "", "", title=f"{one.value} ({GROUPS[one]}=...)", title_justify="left", show_header=False, box=None
        )
        for name in options(GROUPS[one], config_dir):
            table.add_row(f"[bold]{name}[/]", describe(GROUPS[one], name, config_dir).replace("[", r"\["))
        Console().print(table, "")
