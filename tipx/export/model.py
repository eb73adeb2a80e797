"""A run's checkpoint as a model folder of its own, or as adapters alone, with a card."""

import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import torch
from transformers import PreTrainedModel

from tipx.errors import RunError
from tipx.export.card import model_card
from tipx.files.atomic import MANIFEST, damaged, find_damage, make_folder, read_json, write_folder, write_text
from tipx.models.folder import ADAPTER, CONFIG
from tipx.models.lora import FOLDER, WEIGHTS
from tipx.models.pair import Dtype, ModelSource
from tipx.models.quiet import quiet_libraries
from tipx.rollout.weights_folder import save_merged
from tipx.runs.directory import FRESH, Run
from tipx.runs.mark import is_run
from tipx.runs.provenance import git_output
from tipx.runs.reader import StoredRun, open_run
from tipx.train.ahead import NEXT_BATCH
from tipx.train.trainer import STATE

TRAINING = (STATE, NEXT_BATCH)
"""Files of a checkpoint that only training needs."""
SETTINGS = (CONFIG, "generation_config.json")
"""Files of the base, which is no part of adapters that are exported alone."""


def export_model(
    name: str, folder: Path, which: str, runs_dir: Path, *, force: bool, adapter: bool = False
) -> tuple[Run, int]:
    """Write the model, tokenizer and card of a run's checkpoint to `folder`; (run, step).

    Adapters of LoRA are merged into their base, or written alone with `adapter`.

    Raises RunError if there is no such run or checkpoint, or `folder` holds something: `force` takes the place of an
    earlier export, never of anything else. Where `folder` is a link, what it leads to is written.
    """
    stored = open_run(name, runs_dir)
    return stored.directory, write_model(stored, folder, which, force=force, adapter=adapter)


def write_model(
    stored: StoredRun,
    folder: Path,
    which: str,
    *,
    force: bool,
    adapter: bool = False,
    also: Callable[[Path], None] | None = None,
) -> int:
    """The same of a run that is open; its step. `also` may add to the folder, and change what is in it."""
    folder = resolve_place(folder)
    refuse_loss(folder, force=force)
    step, checkpoint = stored.directory.checkpoints.open(which)
    place = checkpoint / FOLDER
    if adapter:
        refuse_alone(stored, place)
    merged = load_adapted(stored, checkpoint) if place.is_dir() and not adapter else None

    def fill(aside: Path) -> None:
        for path in sorted(checkpoint.iterdir()):
            if path.is_file() and path.name not in (*TRAINING, MANIFEST, *(SETTINGS if adapter else ())):
                shutil.copyfile(path, aside / path.name)
        if merged is not None:
            save_merged(merged, aside)
        if adapter:
            for file in (ADAPTER, WEIGHTS):
                shutil.copyfile(place / file, aside / file)
        commit = git_output("rev-parse", "HEAD")
        write_text(aside / "README.md", model_card(stored, step, version("tipx"), commit, adapter=adapter))
        if also is not None:
            also(aside)

    make_folder(folder.parent)
    write_folder(folder, fill, what="model")
    return step


def refuse_alone(stored: StoredRun, place: Path) -> None:
    """Raises RunError where there are no adapters in `place`, or where their base is a model that nobody else has."""
    if not place.is_dir():
        raise RunError(f"--adapter: {stored.name} trained the whole student, not adapters; leave --adapter out")
    if stored.tree["model"]["student"].get("keep_layers") is not None:
        raise RunError(
            f"--adapter: {stored.name} took layers out of its student, so its adapters alone fit no model that others "
            "have; leave --adapter out, and they are merged"
        )


def load_adapted(stored: StoredRun, checkpoint: Path) -> PreTrainedModel:
    """The student of a checkpoint with adapters, in the type of its training. No code of its base is run.

    Raises ModelError.
    """
    quiet_libraries()
    dtype = stored.need("model.student.dtype", str)
    if dtype not in get_args(Dtype):
        raise damaged(stored.directory.config_file, f"model.student.dtype is {dtype!r:.40}", FRESH)
    source = ModelSource(path=str(checkpoint), revision=None, dtype=dtype, attn=None, keep_layers=None)
    return source.load("student", torch.device("cpu"))


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
    named = {CONFIG, ADAPTER} & set(there)
    if not named or not {MANIFEST, "README.md"} <= set(there) or not set(TRAINING).isdisjoint(there):
        return f"it holds {there[0]}, and is no export of tipx"
    if problem := find_damage(folder):
        return f"it was changed after it was exported ({problem})"
    known = {MANIFEST, *read_json(folder / MANIFEST)}
    return next((f"it holds {name}, which no export made" for name in there if name not in known), None)
