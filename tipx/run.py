"""The run directory: the only module that writes under `runs/`.

config.yaml      resolved; rebuilds the Experiment     metrics.jsonl   one line a step
provenance.json  commit, versions, hardware, argv      rollouts/       what was selected, to be read
checkpoints/     000500/, written aside and renamed    evals/          000500/arithmetic-<hash6>/result.json
preflight.json   what was checked before step 1        summary.json    written last: its presence is "finished"
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from matplotlib.figure import Figure

from tipx.errors import RunError
from tipx.files import append_text, damage, sync, write_bytes, write_folder, write_json, write_text, writing

Row = dict[str, Any]
Say = Callable[[str], None]
LOOK_S = 1.0
"""Seconds that taking a run's lock may wait."""
VOLATILE = ("time", "perf/", "memory/")
"""Prefixes of keys that differ between two runs of the same thing."""


@dataclass(frozen=True)
class Run:
    """One run directory."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: dict[str, Any], provenance: Row, *, fresh: bool = False) -> "Run":
        """Make or reopen the directory; `fresh` removes what was there. Raises RunError if it cannot be written.

        Hold the lock, or another process's run may be what is removed.
        """
        run = cls(path)
        run.make()
        if fresh:
            run.clear()
        if not run.config_file.exists():
            write_text(run.config_file, yaml.safe_dump(config, sort_keys=False))
        run.note("starts", [*run.provenance().get("starts", []), provenance])
        return run

    def make(self) -> None:
        """The directory, if it is not there; raises RunError if it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / ".lock").touch()
        except OSError as error:
            raise RunError(
                f"runs_dir: cannot write {self.path} ({error.strerror}); give a folder you may write: "
                "runs_dir=/path/to/runs"
            ) from error

    def clear(self) -> None:
        """Remove everything but the lock."""
        for path in self.path.iterdir():
            if path.name != ".lock":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def discard_if_empty(self) -> None:
        """Remove the directory of a run that failed before its first line of metrics."""
        if not self.rows() and not self.checkpoints():
            shutil.rmtree(self.path)

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def finished(self) -> bool:
        return (self.path / "summary.json").exists()

    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        # The loader in C: hundreds of runs are read for one table.
        loaded: dict[str, Any] = yaml.load(self.config_file.read_text(), yaml.CSafeLoader)
        return loaded

    def provenance(self) -> Row:
        """What is known of how the run was made; {} before its first start."""
        file = self.path / "provenance.json"
        loaded: Row = json.loads(file.read_text()) if file.exists() else {}
        return loaded

    def note(self, key: str, value: Any) -> None:
        """Set one entry of the provenance."""
        write_json(self.path / "provenance.json", self.provenance() | {key: value})

    def summary(self) -> Row:
        loaded: Row = json.loads((self.path / "summary.json").read_text())
        return loaded

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held while a process writes here; makes the directory. Raises RunError when another process holds it."""
        self.make()
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=LOOK_S)
        except Timeout as error:
            raise RunError(f"{self.path} is being written by another process; wait for it or stop it") from error
        try:
            yield
        finally:
            lock.release()

    @property
    def locked(self) -> bool:
        """Whether a process writes here. Looking takes the lock for an instant, so `lock` waits longer than that."""
        if not (self.path / ".lock").exists():
            return False
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False

    def remove(self) -> None:
        """Delete the directory and all in it; raises RunError while another process writes there."""
        with self.lock():
            self.clear()
        shutil.rmtree(self.path)

    # --- metrics -------------------------------------------------------------------------------------------------

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    def rows(self) -> list[Row]:
        """Every whole line; a last line cut short by a kill is not one."""
        if not self.metrics_file.exists():
            return []
        text = self.metrics_file.read_text()
        whole = text[: text.rfind("\n") + 1]
        return [json.loads(line) for line in whole.splitlines()]

    def log(self, row: Row) -> None:
        """Append one line; raises RunFailed when the disk does not take it."""
        append_text(self.metrics_file, json.dumps(row) + "\n")

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`: it will be done again, identically."""
        kept = [row for row in self.rows() if row["step"] <= step]
        write_text(self.metrics_file, "".join(json.dumps(row) + "\n" for row in kept))
        for folder in (self.path / "rollouts", self.path / "evals"):
            # Not what a kill left half-written aside: it is written again under the same name.
            for path in folder.glob("[0-9]*") if folder.exists() else ():
                if int(path.stem) > step:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def save_preflight(self, findings: list[Row]) -> None:
        """What was checked before the first step, and what came of it."""
        write_json(self.path / "preflight.json", findings)

    def save_samples(self, step: int, samples: list[Row], snapshot: bytes) -> None:
        """A few rollouts of a step with what was selected, and the statistics of the whole step."""
        lines, arrays = self.sample_files(step)
        lines.parent.mkdir(exist_ok=True)
        write_bytes(arrays, snapshot)
        write_text(lines, "".join(json.dumps(s) + "\n" for s in samples))

    def sample_files(self, step: int) -> tuple[Path, Path]:
        """Where `save_samples` puts the two."""
        folder = self.path / "rollouts"
        return folder / f"{step:06d}.jsonl", folder / f"{step:06d}.npz"

    def sampled(self) -> list[int]:
        """Steps of which rollouts were saved, in order."""
        return sorted(int(path.stem) for path in (self.path / "rollouts").glob("[0-9]*.jsonl"))

    def samples(self, step: int) -> list[Row]:
        """The rollouts saved at a step."""
        return [json.loads(line) for line in self.sample_files(step)[0].read_text().splitlines()]

    def save_page(self, step: int, html: str) -> Path:
        """A page that shows a step; returns where it is."""
        path = self.path / "inspect" / f"{step:06d}.html"
        path.parent.mkdir(exist_ok=True)
        write_text(path, html)
        return path

    def eval_dir(self, step: int) -> Path:
        return self.path / "evals" / f"{step:06d}"

    def save_figure(self, name: str, figure: Figure) -> None:
        """A matplotlib figure, whole or not there; raises RunFailed when the disk does not take it."""
        aside = self.path / f".{name}"
        with writing(self.path / name):
            figure.savefig(aside, format="png")
            aside.replace(self.path / name)

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[tuple[int, Path]]:
        """(step, folder), oldest first; not verified."""
        folder = self.path / "checkpoints"
        found = folder.glob("[0-9]*") if folder.exists() else ()
        return sorted((int(path.name), path) for path in found)

    def save(self, step: int, fill: Callable[[Path], None], keep: int) -> None:
        """Write checkpoint `step`, then remove all but the newest `keep`."""
        if self.metrics_file.exists():
            sync(self.metrics_file)  # a checkpoint must not outlive the lines it follows
        write_folder(self.path / "checkpoints" / f"{step:06d}", fill)
        for _, path in self.checkpoints()[:-keep]:
            shutil.rmtree(path)

    def newest(self, say: Say) -> tuple[int, Path] | None:
        """The newest checkpoint whose checksums hold; damaged ones are named and removed."""
        for step, path in reversed(self.checkpoints()):
            problem = damage(path)
            if problem is None:
                return step, path
            say(f"warning: checkpoint {path} is damaged ({problem}); going back to the one before it")
            shutil.rmtree(path)
        return None

    def checkpoint(self, which: str) -> tuple[int, Path]:
        """The checkpoint `last` or of a step, verified; raises RunError if it is not there or damaged."""
        there = dict(self.checkpoints())
        if not there:
            raise RunError(f"{self.path} has no checkpoint yet; run its `tipx train` command to the first save")
        if which != "last" and (not which.isdigit() or int(which) not in there):
            steps = ", ".join(map(str, there))
            raise RunError(
                f"checkpoint={which}: {self.path} has checkpoints at steps {steps}; give one of them, or last"
            )
        step = max(there) if which == "last" else int(which)
        problem = damage(there[step])
        if problem is not None:
            others = ", ".join(str(s) for s in there if s != step) or "none"
            raise RunError(
                f"checkpoint {there[step]} is damaged: {problem}; others of this run: {others} (checkpoint=STEP), or "
                "train again with --fresh"
            )
        return step, there[step]

    def finish(self, summary: Row) -> None:
        """Mark the run as finished."""
        write_json(self.path / "summary.json", summary)


def lasting(row: Row) -> Row:
    """The part of a metrics line that two runs of the same thing share: no times, no memory."""
    return {key: value for key, value in row.items() if not key.startswith(VOLATILE)}


def all_runs(runs_dir: Path) -> list[Run]:
    """Every run below `runs_dir`, oldest first."""
    found = [p.parent for p in runs_dir.glob("*/*/config.yaml")]
    return [Run(path) for path in sorted(found, key=lambda p: (p / "config.yaml").stat().st_mtime)]


def find_run(name: str, runs_dir: Path) -> Run | None:
    """The run given as a path, a directory name, or the start or the hash of one; None if there is none.

    Raises RunError when several match.
    """
    if (Path(name) / "config.yaml").is_file():
        return Run(Path(name))
    fits = [r for r in all_runs(runs_dir) if r.path.name.startswith(name) or r.path.name.endswith(f"-{name}")]
    if len(fits) > 1:
        raise RunError(
            f"{name!r} fits {len(fits)} runs: {', '.join(r.path.name for r in fits[:4])}; give more of the name"
        )
    return fits[0] if fits else None
