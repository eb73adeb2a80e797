"""A run's checkpoint as a model folder of its own, with a card."""

import shutil
from importlib.metadata import version
from pathlib import Path

from tipx.card import card
from tipx.errors import RunError
from tipx.files import MANIFEST, write_folder, write_text, writing
from tipx.jobs import git
from tipx.run import Run, find_run
from tipx.trainer import STATE


def export(name: str, folder: Path, which: str, runs_dir: Path, *, force: bool) -> tuple[Run, int]:
    """Write the model, tokenizer and card of a run's checkpoint to `folder`; (run, step).

    Raises RunError if there is no such run or checkpoint, or `folder` holds something: `force` takes the place of an
    earlier model, never of anything else.
    """
    run = find_run(name, runs_dir)
    if run is None:
        raise RunError(f"{name!r} is no run under {runs_dir}; `tipx runs` lists the runs")
    refuse(folder, force=force)
    step, checkpoint = run.checkpoint(which)

    def fill(aside: Path) -> None:
        for path in sorted(checkpoint.iterdir()):
            if path.name not in (STATE, MANIFEST):
                shutil.copyfile(path, aside / path.name)
        write_text(aside / "README.md", card(run, step, version("tipx"), git("rev-parse", "HEAD")))

    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    write_folder(folder, fill, what="model")
    return run, step


def refuse(folder: Path, *, force: bool) -> None:
    """Raises RunError if something would be lost."""
    if folder.is_file():
        raise RunError(f"{folder} is a file; give a new or empty folder")
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if there and not force:
        raise RunError(f"{folder} is not empty (it holds {there[0]}); give another folder, or --force to replace it")
    if there and "config.json" not in there:
        raise RunError(f"{folder} holds {there[0]} and no model, so --force does not replace it; give another folder")
