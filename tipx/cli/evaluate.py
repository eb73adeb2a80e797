"""tipx eval"""

from typing import Annotated

import typer

from tipx.cli.options import PLACE, AsCsv, AsJson, ConfigDir, Overrides


def evaluate(
    target: Annotated[
        str, typer.Argument(**PLACE, metavar="RUN|MODEL", help="A run (path, name or hash) or a model folder")
    ],
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    *,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Measure accuracy on a benchmark: `tipx eval RUN benchmark=arithmetic n=16 checkpoint=100`."""
    from tipx.display.console import console
    from tipx.display.output import Form, choose_form, print_frame, print_json
    from tipx.display.tables import asked, result_records, result_table, results_frame, warnings
    from tipx.evals.start import evaluate_target
    from tipx.signals import orderly

    form = choose_form(as_json=as_json, as_csv=as_csv)
    screen, notes = console(highlight=False), console(stderr=True, highlight=False)
    with orderly("eval"):
        done = evaluate_target(target, overrides or [], config_dir)
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
