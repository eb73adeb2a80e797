"""tipx compare"""

from typing import Annotated

import typer

from tipx.cli.completion import complete_run
from tipx.cli.options import PLACE, AsCsv, AsJson, RunsDir, spell_run, take_runs_dir

ONE = "A run (its last evaluation; also @last or a group), a folder of results, or a result.json"


def compare(
    a: Annotated[str, typer.Argument(**PLACE, metavar="A", help=ONE, autocompletion=complete_run)],
    b: Annotated[str, typer.Argument(**PLACE, metavar="B", help=ONE, autocompletion=complete_run)],
    words: Annotated[list[str] | None, typer.Argument(metavar="benchmark=NAME", help="Only on this one")] = None,
    runs_dir: RunsDir = None,
    *,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Is B better than A? The paired difference over the same problems, with an interval and a p-value.

    `tipx compare A B benchmark=math500`
    """
    from tipx.display.console import console
    from tipx.display.output import Form, choose_form, print_frame, print_json
    from tipx.display.tables import comparison_frame, comparison_table
    from tipx.report.comparison import benchmark_of
    from tipx.report.comparison import compare as job

    form = choose_form(as_json=as_json, as_csv=as_csv)
    rest, place = take_runs_dir(words, runs_dir)
    comparisons = job(spell_run(a, place), spell_run(b, place), benchmark_of(rest), place)
    records = [comparison.record() for comparison in comparisons]
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
