"""Lists of many runs: what a list shows of a run is kept in one file beside the runs, and read from there next time.

An entry is taken only while every file that it was read from is what it was: its inode, its size, and its times of
change to the nanosecond, of which nobody can set the second. A run that is damaged, that a process writes or that was
changed in the last two seconds gets no entry, and is read from its files. The whole is taken only if it is the user's
own, of this code, and has its checksum. Where it is not, or cannot be written, a list takes longer and is the same.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tipx.errors import Damaged, RunError, RunFailed
from tipx.files.atomic import MADE, refuse_others, write_bytes
from tipx.runs import metric_keys as keys
from tipx.runs.find import all_runs
from tipx.runs.mark import MARK
from tipx.runs.metrics_file import Row
from tipx.runs.reader import StoredRun
from tipx.runs.results import FILE, SAMPLES, TEXTS, Result

KEPT_LIST, LOCK = ".runs-list.json", ".lock"
SETTLED_NS = 2 * 10**9
"""A file may change twice within one tick of a file system's clock: one so young may still."""
CONFIG = "config.yaml"
READ = (CONFIG, "provenance.json", "metrics.jsonl", "summary.json", MARK, ".previous", ".previous.moving")
"""What a run is told by, beside its results."""
NOT_LISTED = "scores"
"""What a result has for each problem."""
FileState = list[int]


@dataclass(frozen=True)
class ListedRun(StoredRun):
    """A run as a list shows it, from the entry `known`; what is not in it is read from the run's files.

    Its results are without the scores of each problem, which no list shows.
    """

    known: Row

    @property
    def damage(self) -> str | None:
        return None

    @cached_property
    def tree(self) -> dict[str, Any]:
        return dict(self.known["tree"])

    @cached_property
    def choices(self) -> dict[str, str]:
        return dict(self.known["choices"])

    @property
    def overrides(self) -> list[str]:
        return list(self.known["overrides"])

    @property
    def step(self) -> int:
        return int(self.known["step"])

    @cached_property
    def accuracies(self) -> list[tuple[int, float]]:
        return [(step, value) for step, value in self.known["accuracies"]]

    def last(self, key: str) -> float | None:
        return self.known["last"][key] if key in self.known["last"] else super().last(key)

    @cached_property
    def first_results(self) -> list[Result]:
        return self._listed_results("first_results")

    @cached_property
    def results(self) -> list[Result]:
        return self._listed_results("results")

    def _listed_results(self, name: str) -> list[Result]:
        return [Result(self.path / place, facts) for place, facts in self.known[name]]


def listed_runs(runs_dir: Path) -> list[StoredRun]:
    """`reader.stored_runs` for a list: of a run that is whole what a list shows, from the kept list where it can be.

    The kept list is written anew where an entry came, went or changed.
    """
    before = read_list(runs_dir)
    runs, entries = [], dict[str, Row]()
    for run in map(StoredRun, all_runs(runs_dir)):
        name = f"{run.group}/{run.name}"
        entry = before.get(name)
        if entry is None or entry["files"] != read_states(run.path, entry["known"]["tree"]["loop"]["steps"]):
            entry = read_entry(run)
        if entry is not None:
            entries[name] = entry
        runs.append(run if entry is None else ListedRun(run.directory, entry["known"]))
    if entries != before:
        write_list(runs_dir, entries)
    return runs


def read_entry(run: StoredRun) -> Row | None:
    """What a list shows of a run, and the state of every file before it was read; None for one that gets no entry."""
    settled = time.time_ns() - SETTLED_NS
    before = file_state(str(run.directory.config_file))
    try:
        states = read_states(run.path, run.steps)
    except Damaged:
        return None
    young = any(max(state[2:]) > settled for state in states.values() if state)
    if young or states[CONFIG] != before or run.locked or run.damage is not None:
        return None
    known = {
        "tree": run.tree,
        "choices": run.choices,
        "overrides": run.overrides,
        "step": run.step,
        "accuracies": [list(pair) for pair in run.accuracies],
        "last": {keys.KEPT_FRAC: run.last(keys.KEPT_FRAC)},
        "first_results": [list_result(run, result) for result in run.first_results],
        "results": [list_result(run, result) for result in run.results],
    }
    try:
        same = json.loads(json.dumps(known)) == known
    except TypeError:  # a date of a YAML that somebody wrote
        same = False
    return {"files": states, "known": known} if same else None


def list_result(run: StoredRun, result: Result) -> list[Any]:
    """Its place in the run, and the facts of it that are listed."""
    facts = {name: value for name, value in result.facts.items() if name != NOT_LISTED}
    return [str(result.file.relative_to(run.path)), facts]


def read_states(run: Path, steps: int) -> dict[str, FileState | None]:
    """The state of every file that a list of the run is read from, by its place; None for one that is not there."""
    return {place: file_state(f"{run}/{place}") for place in (*READ, *result_places(run, steps))}


def result_places(run: Path, steps: int) -> Iterator[str]:
    """Where results before the first step and at the last are, or would be."""
    for step in sorted({0, steps}):
        folder = f"evals/{step:06d}"
        with suppress(OSError):
            for name in sorted(entry.name for entry in os.scandir(run / folder)):
                yield from (f"{folder}/{name}/{file}" for file in (FILE, SAMPLES, TEXTS))


def file_state(file: str) -> FileState | None:
    """Inode, size, and the times of the last change of content and of anything."""
    try:
        there = os.stat(file)  # noqa: PTH116 - making a path takes longer than asking
    except OSError:
        return None
    return [there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns]


# --- the file --------------------------------------------------------------------------------------------------------


def read_list(runs_dir: Path) -> dict[str, Row]:
    """The entries by `group/run`; {} where the file is not there, not the user's, of other code, or not as written."""
    file = runs_dir / KEPT_LIST
    try:
        if file.stat().st_uid != os.getuid():
            return {}
        head, _, body = file.read_bytes().partition(b"\n")
        entries: dict[str, Row] = json.loads(body) if head == list_head(body) else {}
    except (OSError, ValueError):
        return {}
    return entries


def write_list(runs_dir: Path, entries: dict[str, Row]) -> None:
    """Replace the file, whole; it stays as it is where it is another's, is being written, or cannot be written."""
    file = runs_dir / KEPT_LIST
    body = json.dumps(entries).encode()
    # Without it a list is the same, and takes longer.
    with suppress(OSError, Timeout, RunError, RunFailed), FileLock(runs_dir / LOCK, timeout=0):
        refuse_others(file)
        if not file.exists() or file.stat().st_uid == os.getuid():
            write_bytes(file, list_head(body) + b"\n" + body)


def list_head(body: bytes) -> bytes:
    """The first line: by whom and by which code it was written, and the checksum of the rest."""
    digest = hashlib.sha256(body).hexdigest()
    return json.dumps({"list": MADE, "code": code_state(), "sha256": digest}).encode()


def code_state() -> str:
    """What is another when one of the modules that read runs is."""
    package = Path(__file__).parents[1]
    files = [
        package / "moved.py",
        *(file for room in ("files", "runs", "stats") for file in package.glob(f"{room}/*.py")),
    ]
    states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(files)]
    return hashlib.sha256(str(states).encode()).hexdigest()[:16]
