"""tipx compare"""

from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.options import PLACE, AsCsv, AsJson, RunsDir

ONE = "A run (its last evaluation), a folder of results, or a result.json"


def compare(
    a: Annotated[str, typer.Argument(**PLACE, metavar="A", help=ONE)],
    b: Annotated[str, typer.Argument(**PLACE, metavar="B", help=ONE)],
    words: Annotated[list[str] | None, typer.Argument(metavar="[benchmark=NAME]")] = None,
    runs_dir: RunsDir = Path("runs"),
    *,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Is B better than A? The paired difference over the same problems, with an interval and a p-value."""
    from tipx.display.console import console
    from tipx.display.output import Form, choose_form, print_frame, print_json
    from tipx.display.tables import comparison_frame, comparison_table
    from tipx.report.comparison import benchmark_of
    from tipx.report.comparison import compare as job

    form = choose_form(as_json=as_json, as_csv=as_csv)
    records = [comparison.record() for comparison in job(a, b, benchmark_of(words or []), runs_dir)]
    if form is Form.JSON:
        print_json(records)
        return
    if form is Form.CSV:
        print_frame(comparison_frame(records), "comparison", form)
        return
    screen = console()
    for record in records:
        screen.print(comparison_table(record))
        if record["noise"]:
            said = f"inside the noise: {'; '.join(record['noise'])}"
            screen.print(said, style="yellow", highlight=False)
