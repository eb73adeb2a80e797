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
    from rich.console import Console

    from tipx.jobs import evaluation
    from tipx.tables import result_table

    console = Console()
    for result, out, worked in evaluation(target, overrides or [], config_dir):
        if not worked:
            console.print(f"already evaluated: {out}", soft_wrap=True, highlight=False)
        console.print(result_table(result))
        console.print(
            f"result   {out / 'result.json'}\nsamples  {out / 'samples.jsonl'}", soft_wrap=True, highlight=False
        )
