"""tipx list"""

from enum import StrEnum
from pathlib import Path
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
    SWEEPS = "sweeps"
    REPORTS = "reports"


FILES = {Kind.SWEEPS, Kind.REPORTS}
"""What is no config group: a name for a command of its own."""
GROUPS = {Kind.DATA: "data"} | {kind: kind.value.removesuffix("s") for kind in Kind if kind not in {Kind.DATA, *FILES}}


def listing(
    kind: Annotated[Kind | None, typer.Argument(help="Leave out for all")] = None, config_dir: ConfigDir = None
) -> None:
    """List models, selectors, benchmarks and more, with a line on each."""
    from rich.table import Table
    from rich.text import Text

    from tipx.config import search_path
    from tipx.display.console import console

    search_path(config_dir)  # which must be one
    for one in [kind] if kind else Kind:
        how = f"tipx {one.value.removesuffix('s')} ..." if one in FILES else f"{GROUPS[one]}=..."
        table = Table("", "", title=f"{one.value} ({how})", title_justify="left", show_header=False, box=None)
        for name, line in describe_kind(one, config_dir):
            table.add_row(Text(name, "bold"), line)
        console().print(table, "")


def describe_kind(kind: Kind, config_dir: Path | None) -> list[tuple[str, str]]:
    """Each name with a line on it."""
    from tipx.config import describe_choices as options_of
    from tipx.files.yamls import first_comment
    from tipx.report.spec import available
    from tipx.sweep.question import read_sweep, sweep_names

    if kind is Kind.REPORTS:
        return [(name, first_comment(file)) for name, file in available(None).items()]
    if kind is Kind.SWEEPS:
        return [(name, read_sweep(name, config_dir)[1]) for name in sweep_names(config_dir)]
    return [*options_of(GROUPS[kind], config_dir).items()]
