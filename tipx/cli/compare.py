"""tipx compare"""

from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.options import PLACE, RunsDir

ONE = "A run (its last evaluation), a folder of results, or a result.json"


def compare(
    a: Annotated[str, typer.Argument(**PLACE, metavar="A", help=ONE)],
    b: Annotated[str, typer.Argument(**PLACE, metavar="B", help=ONE)],
    words: Annotated[list[str] | None, typer.Argument(metavar="[benchmark=NAME]", help="Only this benchmark")] = None,
    runs_dir: RunsDir = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Is B better than A? The paired difference over the same problems, with an interval and a p-value."""
    import json

    from tipx.display.console import console, print_text
    from tipx.display.tables import comparison_table
    from tipx.report.comparison import benchmark_of
    from tipx.report.comparison import compare as job

    found = [one.record() for one in job(a, b, benchmark_of(words or []), runs_dir)]
    if as_json:
        print_text(json.dumps(found, indent=1) + "\n")
        return
    screen = console()
    for one in found:
        screen.print(comparison_table(one))
        if one["noise"]:
            screen.print(
                f"inside the noise: {'; '.join(one['noise'])}", style="yellow", soft_wrap=True, highlight=False
            )
