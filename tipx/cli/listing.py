"""tipx list"""

from enum import StrEnum
from typing import Annotated

import typer

from tipx.cli.options import AsCsv, AsJson, ConfigDir


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
    kind: Annotated[Kind | None, typer.Argument(help="Leave out for an overview")] = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List what there is to choose: models, selectors, benchmarks and more, with a line on each.

    `tipx list` counts them, `tipx list selectors` names them.
    """
    from tipx.cli.kinds import print_kind, print_overview
    from tipx.config import search_path
    from tipx.display.output import choose_form

    form = choose_form(as_json=as_json, as_csv=as_csv)
    search_path(config_dir)  # which must be one
    if kind is None:
        print_overview(config_dir, form)
    else:
        print_kind(kind, config_dir, form)
