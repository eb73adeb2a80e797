"""tipx compare"""

from typing import Annotated

import typer

from tipx.cli.completion import complete_run
from tipx.cli.options import PLACE, RunsDir, spell_run, take_runs_dir

ONE = "A run (its last evaluation; also @last or a group), a folder of results, or a result.json"


def compare(
    a: Annotated[str, typer.Argument(**PLACE, metavar="A", help=ONE, autocompletion=complete_run)],
    b: Annotated[str, typer.Argument(**PLACE, metavar="B", help=ONE, autocompletion=complete_run)],
    words: Annotated[list[str] | None, typer.Argument(metavar="benchmark=NAME", help="Only on this one")] = None,
    runs_dir: RunsDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Is B better than A? The paired difference over the same problems, with an interval and a p-value.

    `tipx compare A B benchmark=math500`
    """
    import json

    from tipx.display.console import console, print_text
    from tipx.display.tables import comparison_table
    from tipx.report.comparison import benchmark_of
    from tipx.report.comparison import compare as job

    rest, place = take_runs_dir(words, runs_dir)
    found = [one.record() for one in job(spell_run(a, place), spell_run(b, place), benchmark_of(rest), place)]
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
