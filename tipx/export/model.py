"""A run's checkpoint as a model folder of its own, with a card."""

import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from tipx.errors import RunError
from tipx.export.card import model_card
from tipx.files.atomic import MANIFEST, find_damage, make_folder, read_json, write_folder, write_text
from tipx.runs.directory import Run
from tipx.runs.mark import is_run
from tipx.runs.provenance import git_output
from tipx.runs.reader import StoredRun, open_run
from tipx.train.ahead import NEXT_BATCH
from tipx.train.trainer import STATE

TRAINING = (STATE, NEXT_BATCH)
"""Files of a checkpoint that only training needs."""


def export_model(name: str, folder: Path, which: str, runs_dir: Path, *, force: bool) -> tuple[Run, int]:
    """Write the model, tokenizer and card of a run's checkpoint to `folder`; (run, step).

    Raises RunError if there is no such run or checkpoint, or `folder` holds something: `force` takes the place of an
    earlier export, never of anything else. Where `folder` is a link, what it leads to is written.
    """
    stored = open_run(name, runs_dir)
    return stored.directory, write_model(stored, folder, which, force=force)


def write_model(
    stored: StoredRun, folder: Path, which: str, *, force: bool, also: Callable[[Path], None] | None = None
) -> int:
    """The same of a run that is open; its step. `also` may add to the folder, and change what is in it."""
    folder = resolve_place(folder)
    refuse_loss(folder, force=force)
    step, checkpoint = stored.directory.checkpoints.open(which)

    def fill(aside: Path) -> None:
        for path in sorted(checkpoint.iterdir()):
            if path.name not in (*TRAINING, MANIFEST):
                shutil.copyfile(path, aside / path.name)
        write_text(aside / "README.md", model_card(stored, step, version("tipx"), git_output("rev-parse", "HEAD")))
        if also is not None:
            also(aside)

    make_folder(folder.parent)
    write_folder(folder, fill, what="model")
    return step


def resolve_place(folder: Path) -> Path:
    """Where it really is; raises RunError for links that lead nowhere."""
    try:
        return folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise RunError(f"{folder} is no place for a model ({error}); give a new or empty folder") from error


def refuse_loss(folder: Path, *, force: bool) -> None:
    """Raises RunError if something would be lost."""
    owner = next((path for path in (folder, *folder.parents) if is_run(path)), None)
    if owner is not None:
        raise RunError(f"{folder} belongs to the run {owner.name}; give a folder outside of it")
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give a new or empty folder")
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if there and not force:
        raise RunError(f"{folder} is not empty (it holds {there[0]}); give another folder, or --force to replace it")
    if there and (other := find_foreign(folder, there)):
        raise RunError(f"{folder}: {other}, so --force does not replace it; give another folder")


def find_foreign(folder: Path, there: list[str]) -> str | None:
    """What a folder holds that no export made, or made otherwise; None for an export as it was written."""
    if not {MANIFEST, "README.md", "config.json"} <= set(there) or not set(TRAINING).isdisjoint(there):
        return f"it holds {there[0]}, and is no export of tipx"
    if problem := find_damage(folder):
        return f"it was changed after it was exported ({problem})"
    known = {MANIFEST, *read_json(folder / MANIFEST)}
    return next((f"it holds {name}, which no export made" for name in there if name not in known), None)
