"""checkpoints/: one folder a saved step, whole or not there.

A checkpoint is written beside its place, with a manifest of checksums, and renamed at the end. So a kill leaves either
the whole checkpoint or none, and a reader that finds another checksum knows that the disk or somebody changed it.
`Trainer.save` fills the folder: weights, tokenizer, and the state of the optimizer and of the random numbers.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tipx.errors import RunError
from tipx.files.atomic import MANIFEST, find_damage, remove, write_folder

STEP = re.compile(r"\d{6,12}")
"""How a step is written in the name of a file or folder."""
KEPT_ASIDE = re.compile(r"\.?(\d{6,12})(\.(damaged|unused).*)?")
"""A checkpoint that was whole once, here or kept aside."""


@dataclass(frozen=True)
class Checkpoints:
    """The folder `checkpoints` of a run."""

    folder: Path

    def saved(self) -> list[tuple[int, Path]]:
        """(step, folder), oldest first; not verified."""
        folders = [path for path in self._content() if path.is_dir() and STEP.fullmatch(path.name)]
        return sorted((int(path.name), path) for path in folders)

    def steps_ever_saved(self) -> set[int]:
        """Steps that had a whole checkpoint once, here or kept aside."""
        return {int(match[1]) for path in self._content() if (match := KEPT_ASIDE.fullmatch(path.name))}

    def write(self, step: int, fill: Callable[[Path], None], keep: int) -> None:
        """Write the checkpoint of a step by `fill(folder)`, then remove all but the newest `keep`."""
        write_folder(self.folder / f"{step:06d}", fill)
        self.remove_old(keep)

    def remove_old(self, keep: int) -> None:
        """Remove all but the newest `keep`; a kill after the last write may have left one more."""
        for _, path in self.saved()[:-keep]:
            if (path / MANIFEST).is_file():
                remove(path)

    def open(self, which: str) -> tuple[int, Path]:
        """The checkpoint `last` or of a step, verified; raises RunError if it is not there or damaged."""
        run, there = self.folder.parent, dict(self.saved())
        if not there:
            raise RunError(f"{run} has no checkpoint yet; run its `tipx train` command to the first save")
        if which != "last" and which not in map(str, there):
            steps = ", ".join(map(str, there))
            raise RunError(f"checkpoint={which}: {run} has checkpoints at steps {steps}; give one of them, or last")
        step = max(there) if which == "last" else int(which)
        problem = find_damage(there[step])
        if problem is not None:
            others = ", ".join(str(s) for s in there if s != step) or "none"
            raise RunError(
                f"checkpoint {there[step]} is damaged: {problem}; others of this run: {others} (checkpoint=STEP), or "
                "train again with --fresh"
            )
        return step, there[step]

    def _content(self) -> list[Path]:
        return sorted(self.folder.iterdir()) if self.folder.is_dir() else []
