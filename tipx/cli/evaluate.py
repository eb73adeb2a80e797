"""tipx eval"""

from typing import Annotated

import typer

from tipx.cli.completion import complete_run
from tipx.cli.options import PLACE, RUN_HELP, ConfigDir, Overrides, RunsDir, add_runs_dir, spell_run, take_runs_dir


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
) -> None:
    """Measure accuracy on a benchmark: `tipx eval RUN benchmark=arithmetic n=16 checkpoint=100`."""
    from tipx.display.console import console
    from tipx.display.tables import asked, result_table, warnings
    from tipx.evals.start import evaluate_target
    from tipx.signals import orderly

    screen = console()
    with orderly("eval"):
        target = spell_run(target, take_runs_dir(overrides, runs_dir)[1])
        done = evaluate_target(target, add_runs_dir(overrides, runs_dir), config_dir)
    for result, out, worked in done:
        if not worked:
            screen.print(f"already evaluated: {out}", soft_wrap=True, highlight=False)
        screen.print(result_table(result))
        for warning in warnings(result):
            screen.print(f"warning: {warning}", style="yellow", soft_wrap=True, highlight=False)
        screen.print(asked(result), soft_wrap=True, highlight=False)
        screen.print(
            f"result   {out / 'result.json'}\nsamples  {out / 'samples.jsonl'}", soft_wrap=True, highlight=False
        )
