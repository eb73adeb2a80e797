"""tipx export"""

from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.options import PATH, WORDS, RunName, RunsDir, RunsDirWords, refuse_words, spell_run, take_runs_dir


def export(
    run: RunName,
    folder: Annotated[Path, typer.Argument(**PATH | {"metavar": "DIR"}, help="A new or empty folder")],
    words: RunsDirWords = None,
    *,
    checkpoint: Annotated[str, typer.Option(**WORDS, help="A step, or last")] = "last",
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Of a run with LoRA: the adapters alone, for peft; else they are merged")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there")] = False,
    runs_dir: RunsDir = None,
) -> None:
    """Write a run's student as a plain transformers folder, with a model card made from the run.

    `tipx export @last my-model --checkpoint 100`
    """
    from tipx.display.console import console
    from tipx.export.model import export_model as job

    rest, place = take_runs_dir(words, runs_dir)
    refuse_words(rest, "export")
    made, step = job(spell_run(run, place), folder, checkpoint, place, force=force, adapter=adapter)
    console().print(f"{made.path.name}, step {step}\nmodel    {folder}", soft_wrap=True, highlight=False)
