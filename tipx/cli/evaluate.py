"""tipx eval"""

from typing import Annotated

import typer

from tipx.cli.completion import complete_run
from tipx.cli.imports import without_collecting
from tipx.cli.options import (
    PLACE,
    RUN_HELP,
    AsCsv,
    AsJson,
    ConfigDir,
    Overrides,
    RunsDir,
    add_runs_dir,
    spell_run,
    take_runs_dir,
)


def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            **PLACE, metavar="RUN|MODEL", help=f"{RUN_HELP}; or a model folder", autocompletion=complete_run
        ),
    ],
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    runs_dir: RunsDir = None,
    *,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Measure accuracy on a benchmark: `tipx eval RUN benchmark=arithmetic n=16 checkpoint=100`."""
    from tipx.display.console import console
    from tipx.display.output import Form, choose_form, print_frame, print_json
    from tipx.display.tables import asked, result_records, result_table, results_frame, warnings
    from tipx.signals import orderly

    with without_collecting():
        from tipx.evals.start import evaluate_target

    form = choose_form(as_json=as_json, as_csv=as_csv)
    screen, notes = console(highlight=False), console(stderr=True, highlight=False)
    with orderly("eval"):
        target = spell_run(target, take_runs_dir(overrides, runs_dir)[1])
        done = evaluate_target(target, add_runs_dir(overrides, runs_dir), config_dir)
    for result, out, worked in done:
        if not worked:
            notes.print(f"already evaluated: {out}", soft_wrap=True)
        for warning in warnings(result):
            notes.print(f"warning: {warning}", style="yellow")
        if form is Form.TABLE:
            screen.print(result_table(result))
            screen.print(asked(result))
            screen.print(f"result   {out / 'result.json'}\nsamples  {out / 'samples.jsonl'}", soft_wrap=True)
    records = result_records((result, out) for result, out, _ in done)
    if form is Form.JSON:
        print_json(records)
    elif form is Form.CSV:
        print_frame(results_frame(records), "results", form)
