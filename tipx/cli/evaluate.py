"""tipx eval"""

from typing import Annotated

import typer

from tipx.cli.options import PLACE, ConfigDir, Overrides


def evaluate(
    target: Annotated[
        str, typer.Argument(**PLACE, metavar="RUN|MODEL", help="A run (path, name or hash) or a model folder")
    ],
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
) -> None:
    """Measure accuracy on a benchmark: `tipx eval RUN benchmark=arithmetic n=16 checkpoint=100`."""
    from tipx.display.console import console
    from tipx.display.tables import asked, result_table, warnings
    from tipx.evals.start import evaluate_target
    from tipx.signals import orderly

    screen = console()
    with orderly("eval"):
        done = evaluate_target(target, overrides or [], config_dir)
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
