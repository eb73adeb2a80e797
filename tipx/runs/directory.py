"""The run directory: what lies in it, and how each file is written and read.

Others write there too, in a place of their own: `evals` puts results below `evals/`, `report` and `sweep_folder` put
reports and plans beside the runs, loggers write `wandb/`, `tensorboard/` or `trackio/`.

.tipx-run        the mark: tipx made this directory    config.yaml     resolved; rebuilds the Experiment
provenance.json  commit, versions, hardware, argv      metrics.jsonl   one line a step
checkpoints/     000500/, written aside and renamed    rollouts/       what was selected, to be read
preflight.json   what was checked before step 1        evals/          000500/arithmetic-<hash6>/result.json
.lock            held while a process writes here      summary.json    written last: its presence is "finished"

`.previous/` is there only while `--fresh` has not trained its first step: the run as it was, to come back if it cannot.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from tipx.errors import Damaged, RunError
from tipx.files.atomic import (
    damaged,
    find_damage,
    make_folder,
    read_json,
    read_lines,
    remove,
    set_aside,
    sync_file,
    write_bytes,
    write_json,
    write_text,
)
from tipx.files.yamls import read_yaml
from tipx.moved import with_current_targets
from tipx.runs.checkpoints import STEP, Checkpoints
from tipx.runs.mark import LABEL, MARK, MARK_TEXT, is_run
from tipx.runs.metrics_file import MetricRows, Row, RowStream, append_row, read_rows, write_rows

Say = Callable[[str], None]
LOOK_S = 1.0
"""Seconds that taking a run's lock may wait."""
SEEN = ".seen"
"""Is there while processes find out whether they see one folder; a kill may leave it, which means nothing."""
SEE_S = 5.0
"""Seconds that a file may take to be seen on another node, whose file system remembers what was there before."""
STARTING = {".lock", SEEN, MARK, "config.yaml", "provenance.json", "preflight.json", "wandb", "tensorboard", "trackio"}
"""What a run has before its first step."""
STAYS = {".lock", SEEN, MARK, ".previous", ".previous.moving"}
"""What `--fresh` does not move."""
FRESH = "train it again with --fresh"
UNNEEDED = "move it away: the run does without"
FIRST_MISSING = "its first line, of step 0, is missing"
NEEDED = {
    "seed": int,
    "loop.steps": int,
    "model.teacher.path": str,
    "model.student.path": str,
    "selector.score._target_": str,
    "selector.pick._target_": str,
}
"""Keys of config.yaml that every reader relies on."""


@dataclass(frozen=True)
class Run:
    """One run directory."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: dict[str, Any], provenance: Row, *, fresh: bool = False) -> "Run":
        """Make or reopen the directory; `fresh` sets aside what was there, until the first line of metrics.

        Hold the lock, or another process's run may be what is set aside. Raises RunError if it cannot be written, or
        holds what tipx did not make.
        """
        run = cls(path)
        run.make()
        write_text(path / MARK, MARK_TEXT)
        if fresh:
            run.set_aside()
        if not run.readable(run.config, lambda _: None):
            write_text(run.config_file, yaml.safe_dump(config, sort_keys=False))
        run.note("starts", [*run.provenance().get("starts", []), provenance])
        return run

    def make(self) -> None:
        """The directory, if it is not there; raises RunError if it cannot be written or is not tipx's."""
        self.refuse_foreign()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / ".lock").touch()
        except OSError as error:
            raise RunError(
                f"runs_dir: cannot write {self.path} ({error.strerror}); give a folder you may write: "
                "runs_dir=/path/to/runs"
            ) from error

    def refuse_foreign(self) -> None:
        """Raises RunError for a directory with content that tipx did not make."""
        content = self.path.iterdir() if self.path.is_dir() else ()
        there = sorted(path.name for path in content if path.name not in (".lock", SEEN))
        if there and not is_run(self.path):
            raise RunError(
                f"{self.path} holds {there[0]}, and is no run of tipx; move it away, or give another group= or name="
            )

    def repair(self, say: Say) -> None:
        """Set aside a configuration or provenance that is damaged: a run continues without them. Hold the lock."""
        for file, read in ((self.config_file, self.config), (self.path / "provenance.json", self.provenance)):
            if file.exists() and not self.readable(read, say):
                say(f"warning: it is kept as {set_aside(file, 'damaged')}, and written again")
        for file in (self.path / MARK, self.path / "preflight.json"):
            if file.is_dir():
                say(f"warning: {file} is a folder; it is kept as {set_aside(file, 'damaged')}")

    def readable(self, read: Callable[[], Any], say: Say) -> bool:
        """Whether a file of the run can be read; what is wrong is said."""
        try:
            read()
        except Damaged as error:
            say(f"warning: {error}")
            return False
        return True

    # --- seen from several nodes ---------------------------------------------------------------------------------

    @contextmanager
    def showing(self, token: str) -> Iterator[None]:
        """For a while a file in the directory holds `token`."""
        file = self.path / SEEN
        write_text(file, token)
        try:
            yield
        finally:
            file.unlink()

    def sees(self, token: str) -> bool:
        """Whether what another process is `showing` comes to be seen here, within `SEE_S`.

        Opening the folders on the way makes NFS ask its server again for what is in them.
        """
        ends = time.monotonic() + SEE_S
        while True:
            with suppress(OSError):
                for folder in (self.path.parent.parent, self.path.parent, self.path):
                    os.close(os.open(folder, os.O_RDONLY))
                if (self.path / SEEN).read_text() == token:
                    return True
            if time.monotonic() > ends:
                return False
            time.sleep(SEE_S / 50)

    # --- starting over, and removing -----------------------------------------------------------------------------

    @property
    def _previous(self) -> Path:
        return self.path / ".previous"

    @property
    def _moving(self) -> Path:
        return self.path / ".previous.moving"

    def set_aside(self) -> None:
        """Move all that is there into `.previous`; a kill at any moment leaves what `recover` puts right."""
        self._moving.mkdir()
        for path in self._content():
            path.rename(self._moving / path.name)
        self._moving.rename(self._previous)

    def _content(self) -> list[Path]:
        return [path for path in sorted(self.path.iterdir()) if path.name not in STAYS]

    def recover(self, say: Say) -> None:
        """Bring back the run that `--fresh` set aside, if its successor has no line of metrics yet. Hold the lock.

        `.previous.moving` is the whole on its way there or back, when nothing else is in the directory.
        """
        if self._previous.exists():
            if self.metrics_file.exists() and self.metrics_file.stat().st_size:
                remove(self._previous)
                return
            for path in self._content():
                remove(path)
            self._previous.rename(self._moving)
        if self._moving.exists():
            for path in sorted(self._moving.iterdir()):
                path.rename(self.path / path.name)
            self._moving.rmdir()
            say(f"{self.path} is as it was before --fresh")

    def discard_if_empty(self) -> None:
        """Remove the directory of a run that failed before its first step and left nothing else; a link stays."""
        if not self.path.is_symlink() and {path.name for path in self.path.iterdir()} <= STARTING:
            remove(self.path)

    def refuse_removal(self, runs_dir: Path) -> None:
        """Raises RunError unless this is a run of tipx, itself and not a link, in a group below `runs_dir`."""
        if not is_run(self.path):
            raise RunError(f"{self.path} is no run of tipx, and stays; `tipx runs` lists the runs")
        if self.path.is_symlink() or self.path.resolve().parent.parent != runs_dir.resolve():
            where = "is a link" if self.path.is_symlink() else f"is not in a group below {runs_dir}"
            raise RunError(
                f"{self.path} {where}, and stays; to remove {self.path.resolve()}, give --runs-dir "
                f"{self.path.resolve().parent.parent}"
            )

    def remove(self, runs_dir: Path) -> None:
        """Delete the directory and all in it: renamed first, its mark last. Raises RunError if it may or can not."""
        self.refuse_removal(runs_dir)
        with self.lock():
            place = self.path.with_name(f".{self.path.name}.removed")
            try:
                if is_run(place) or not os.path.lexists(place):
                    remove(place)  # of an earlier removal that was stopped
                self.path.rename(place)
                write_text(place / MARK, MARK_TEXT)
                for path in place.iterdir():
                    if path.name != MARK:
                        remove(path)
                remove(place)
            except OSError as error:
                raise RunError(f"cannot remove {self.path}: {error.strerror} ({error.filename})") from error

    # --- what it is ----------------------------------------------------------------------------------------------

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def label(self) -> str | None:
        """The hash in its directory's name; None for one that was renamed."""
        match = LABEL.search(self.path.name)
        return match[1] if match else None

    @property
    def finished(self) -> bool:
        """Whether it is trained to its end, and not on its way to or from where `--fresh` sets it aside."""
        return (self.path / "summary.json").exists() and not (self._previous.exists() or self._moving.exists())

    def config(self) -> dict[str, Any]:
        """The resolved configuration, with classes under their names of today; raises Damaged."""
        tree = with_current_targets(read_yaml(self.config_file, Damaged, FRESH))
        for key, kind in NEEDED.items():
            self.need(tree, key, kind)
        return tree

    def need(self, tree: dict[str, Any], key: str, kind: type) -> Any:
        """The value at a dotted key of the configuration; raises Damaged when it is not there, or of another type."""
        found: Any = tree
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if isinstance(found, bool) or not isinstance(found, (kind, int) if kind is float else kind):
            raise damaged(self.config_file, f"it has no {key} that is of type {kind.__name__}", FRESH)
        return found

    def provenance(self) -> Row:
        """What is known of how the run was made; {} before its first start. Raises Damaged."""
        file = self.path / "provenance.json"
        noted = read_json(file, UNNEEDED) if file.exists() else {}
        starts = noted.get("starts", [])
        if not isinstance(starts, list) or not all(isinstance(start, dict) for start in starts):
            raise damaged(file, "its starts are no list of objects", UNNEEDED)
        data = noted.get("data")
        if data is not None and not (
            isinstance(data, dict) and isinstance(data.get("sha256"), str) and isinstance(data.get("prompts"), int)
        ):
            raise damaged(file, "its data have no fingerprint", UNNEEDED)
        for where in (noted, *starts):  # choices and overrides were once noted with each start
            choices, overrides = where.get("choices") or {}, where.get("overrides") or []
            argv = where.get("argv", [])
            if not (isinstance(choices, dict) and isinstance(overrides, list) and isinstance(argv, list)):
                raise damaged(file, "its choices, overrides or words are of another type", UNNEEDED)
            if not all(isinstance(one, str) for one in (*choices.values(), *overrides, *argv)):
                raise damaged(file, "its choices, overrides or words are no text", UNNEEDED)
        return noted

    def first_threads(self, processes: int) -> int | None:
        """Threads of each process when the run began; None for a run that is new, or had other processes then.

        Runs of before they were noted have them in their configuration, unless it says auto.
        """
        starts = self.provenance().get("starts", [])
        if not starts or starts[0].get("processes") != processes:
            return None
        threads = starts[0].get("threads")
        if threads is None:
            hardware = self.config().get("hardware")
            threads = hardware.get("threads") if isinstance(hardware, dict) else None
        return threads if type(threads) is int and 0 < threads <= 1024 else None

    def note(self, key: str, value: Any) -> None:
        """Set one entry of the provenance."""
        write_json(self.path / "provenance.json", self.provenance() | {key: value})

    def summary(self) -> Row:
        """What `finish` wrote; raises Damaged."""
        file = self.path / "summary.json"
        found = read_json(file, FRESH)
        if type(found.get("steps", 0)) is not int:
            raise damaged(file, "its steps are no number", FRESH)
        return found

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
        """Whether a process writes here. Looking takes the lock for an instant, so `lock` waits longer than that.

        It takes no right to write: what others run can be looked at.
        """
        try:
            handle = os.open(self.path / ".lock", os.O_RDONLY)
        except OSError:  # there is none, or it is not for us to see
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks
            return False
        finally:
            os.close(handle)
        return False

    # --- metrics -------------------------------------------------------------------------------------------------

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    def rows(self) -> MetricRows:
        """Every line; a last one without its end, as a kill or a power cut leaves it, is none. Raises Damaged."""
        rows, problem = self.good_rows()
        last = rows[-1]["step"] if rows else 0
        if problem is None and self.finished and last < (steps := self.summary().get("steps", 0)):
            problem = f"it ends at step {last} of {steps}"
        if problem is not None:
            again = FRESH if self.finished else "the run's `tipx train` command goes back to before it"
            raise damaged(self.metrics_file, problem, again)
        return rows

    def good_rows(self) -> tuple[MetricRows, str | None]:
        """The lines before the first that is missing or is none, and what is wrong there; None if nothing is."""
        rows, problem = read_rows(self.metrics_file)
        if problem is None and rows and self._lacks_first_row(rows[0]["step"]):
            return MetricRows(), FIRST_MISSING
        return rows, problem

    def good_step(self) -> tuple[int, str | None]:
        """The step of the last of `good_rows`, 0 where there is none, and what is wrong; keeps none of them."""
        stream, first, last = RowStream(self.metrics_file), None, 0
        for row in stream:
            last = row["step"]
            first = last if first is None else first
        if stream.problem is None and first is not None and self._lacks_first_row(first):
            return 0, FIRST_MISSING
        return last, stream.problem

    def _lacks_first_row(self, step: int) -> bool:
        """Whether the line of `step`, the first, should have one before it."""
        return step == 1 and self._measured_before()

    def _measured_before(self) -> bool:
        """Whether the run measures something before its first step, as far as its configuration tells."""
        try:
            tree = self.config()
        except Damaged:
            return False
        sections = ((tree.get("loop"), "eval_every"), (tree.get("heldout"), "every"))
        return any(isinstance(section, dict) and section.get(key, 0) > 0 for section, key in sections)

    def refuse_incomplete_provenance(self) -> None:
        """Raises Damaged if it lacks what every start notes; runs of before there was a mark noted less."""
        noted, file = self.provenance(), self.path / "provenance.json"
        there = (noted.get("starts"), noted.get("choices") is not None, noted.get("overrides") is not None)
        if (self.path / MARK).is_file() and not all(there):
            raise damaged(file, "its starts, choices or overrides are missing", UNNEEDED)

    def log(self, row: Row) -> None:
        """Append one line; raises RunFailed when the disk does not take it."""
        append_row(self.metrics_file, row)
        if self._previous.exists():
            sync_file(self.metrics_file)
            remove(self._previous)

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`: it will be done again, identically.

        Checkpoints after it, whose lines were lost, are kept aside, with evaluations of them that somebody asked for.
        """
        write_rows(self.metrics_file, self._good_lines(step))
        saved = self.checkpoints.steps_ever_saved()
        for later, path in self.checkpoints.saved():
            if later > step:
                set_aside(path, "unused")
        for path in [*self._folder("rollouts"), *self._folder("evals")]:
            later = int(path.stem) if STEP.fullmatch(path.stem) else -1
            # Not what a kill left half-written aside: it is written again under the same name.
            if later > step:
                if later in saved and path.parent.name == "evals":
                    set_aside(path, "unused")
                else:
                    remove(path)

    def _good_lines(self, step: int) -> Iterator[bytes]:
        """Those of `good_rows` up to a step, as they are written today."""
        stream = RowStream(self.metrics_file)
        for number, row in enumerate(stream):
            lacks_first = number == 0 and self._lacks_first_row(row["step"])
            if row["step"] > step or (lacks_first and self.good_step()[1] == FIRST_MISSING):
                return
            yield stream.line

    def _folder(self, name: str) -> list[Path]:
        """What lies in a folder of the run."""
        folder = self.path / name
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def save_preflight(self, findings: list[Row]) -> None:
        """What was checked before the first step, and what came of it."""
        write_json(self.path / "preflight.json", findings)

    def save_samples(self, step: int, samples: list[Row], snapshot: bytes) -> None:
        """A few rollouts of a step with what was selected, and the statistics of the whole step."""
        lines, arrays = self.sample_files(step)
        make_folder(lines.parent)
        write_bytes(arrays, snapshot)
        write_text(lines, "".join(json.dumps(s) + "\n" for s in samples))

    def sample_files(self, step: int) -> tuple[Path, Path]:
        """Where `save_samples` puts the two."""
        folder = self.path / "rollouts"
        return folder / f"{step:06d}.jsonl", folder / f"{step:06d}.npz"

    def sampled(self) -> list[int]:
        """Steps of which rollouts were saved, in order."""
        found = [path for path in self._folder("rollouts") if path.suffix == ".jsonl"]
        return sorted(int(path.stem) for path in found if STEP.fullmatch(path.stem))

    def samples(self, step: int) -> list[Row]:
        """The rollouts saved at a step; raises Damaged."""
        file, remedy = self.sample_files(step)[0], f"inspect another step, or {FRESH}"
        rows = read_lines(file, remedy)
        for number, row in enumerate(rows, 1):
            if wrong := missing_in_sample(row):
                raise damaged(file, f"line {number} has no {wrong}", remedy)
        return rows

    def save_page(self, step: int, html: str) -> Path:
        """A page that shows a step; returns where it is."""
        path = self.path / "inspect" / f"{step:06d}.html"
        make_folder(path.parent)
        write_text(path, html)
        return path

    def eval_dir(self, step: int) -> Path:
        return self.path / "evals" / f"{step:06d}"

    def save_picture(self, name: str, picture: bytes) -> None:
        """A picture, whole or not there; raises RunFailed when the disk does not take it."""
        write_bytes(self.path / name, picture)

    # --- checkpoints ---------------------------------------------------------------------------------------------

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.path / "checkpoints")

    def save_checkpoint(self, step: int, fill: Callable[[Path], None], keep: int) -> None:
        """Write a checkpoint. It must not outlive the lines of metrics that it follows: those go to the disk first."""
        if self.metrics_file.exists():
            sync_file(self.metrics_file)
        self.checkpoints.write(step, fill, keep)

    def newest_checkpoint(self, say: Say) -> tuple[int, Path] | None:
        """The newest checkpoint whose checksums hold and that the lines of metrics reach; hold the lock.

        What is damaged is named, and kept aside.
        """
        reached, problem = self.good_step()
        if problem is not None:
            say(f"warning: {self.metrics_file} is damaged: {problem}; going back to a checkpoint before that")
            if self.metrics_file.is_file():
                write_bytes(self.path / ".metrics.jsonl.damaged", self.metrics_file.read_bytes())
            else:
                set_aside(self.metrics_file, "damaged")
        for step, path in reversed(self.checkpoints.saved()):
            if step > reached:
                if problem is None:
                    say(f"warning: {self.metrics_file} ends at step {reached}, before checkpoint {path}; going back")
                continue
            if (bad := find_damage(path)) is None:
                return step, path
            kept = set_aside(path, "damaged")
            say(f"warning: checkpoint {path} is damaged ({bad}), kept as {kept.name}; going back to the one before it")
        return None

    def finish(self, summary: Row) -> None:
        """Mark the run as finished."""
        write_json(self.path / "summary.json", summary)


def missing_in_sample(row: Row) -> str | None:
    """What a line of saved rollouts lacks that readers rely on; None if it is all there."""
    tokens, stats = row.get("tokens"), row.get("stats")
    if not isinstance(tokens, list) or not isinstance(stats, dict):
        return "tokens with statistics"
    columns: dict[str, tuple[Any, Any]] = {"tokens": (tokens, int), "weights": (row.get("weights"), (int, float))}
    columns |= {name: (values, (int, float)) for name, values in stats.items()}
    columns |= {"pieces": (row["pieces"], str)} if "pieces" in row else {}
    for name, (values, kind) in columns.items():
        if not isinstance(values, list) or len(values) != len(tokens) or not all(isinstance(v, kind) for v in values):
            return f"{name} for each of its tokens"
    texts = ("prompt", "response", "stop", "answer")
    return next((name for name in texts if not isinstance(row.get(name, ""), str | None)), None)
