"""tipx export"""

from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.options import PATH, PLACE, WORDS, RunsDir


def export(
    run: Annotated[str, typer.Argument(**PLACE, metavar="RUN", help="A run: path, name or hash")],
    folder: Annotated[Path, typer.Argument(**PATH | {"metavar": "DIR"}, help="A new or empty folder")],
    checkpoint: Annotated[str, typer.Option(**WORDS, help="A step, or last")] = "last",
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there")] = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Write a run's student as a plain transformers folder, with a model card made from the run."""
    from tipx.display.console import console
    from tipx.export.model import export_model as job

    made, step = job(run, folder, checkpoint, runs_dir, force=force)
    console().print(f"{made.path.name}, step {step}\nmodel    {folder}", soft_wrap=True, highlight=False)
