"""Finding runs: all below a folder, those of a group, or the one that a user names."""

import difflib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tipx.errors import RunError
from tipx.runs.directory import Run
from tipx.runs.mark import is_run


def all_runs(runs_dir: Path) -> list[Run]:
    """Every run in the groups below `runs_dir`, oldest first."""
    return sort_by_age(runs_dir.glob("*/*"))


def runs_of(group: Path) -> list[Run]:
    """Every run in a group, oldest first."""
    return sort_by_age(group.glob("*"))


def sort_by_age(paths: Iterable[Path]) -> list[Run]:
    """The runs among some directories, oldest first."""
    run_paths = [path for path in paths if not path.name.startswith(".") and is_run(path)]
    return [Run(path) for path in sorted(run_paths, key=lambda path: (run_age(path), path.name))]


def run_age(path: Path) -> float:
    """When a run was made, as far as its files tell."""
    for file in (path / "config.yaml", path):
        with suppress(OSError):
            return file.stat().st_mtime
    return 0.0


def find_run(name: str, runs_dir: Path) -> Run | None:
    """The run given as a path, a directory name, or the start or the hash of one; None if there is none.

    Raises RunError when several match, and for an empty name, which would match all.
    """
    if not name.strip():
        raise RunError(
            f"expected a run (path, name or hash), got {name!r}: is a variable not set? `tipx runs` lists them"
        )
    if is_run(Path(name)):
        return Run(Path(name))
    fits = [r for r in all_runs(runs_dir) if r.path.name.startswith(name) or r.path.name.endswith(f"-{name}")]
    if len(fits) > 1:
        raise RunError(
            f"{name!r} fits {len(fits)} runs: {', '.join(r.path.name for r in fits[:4])}; give more of the name"
        )
    return fits[0] if fits else None


def need_run(name: str, runs_dir: Path, also: str = "") -> Run:
    """What `find_run` finds; raises RunError if there is none, saying what `also` was looked for in vain."""
    run = find_run(name, runs_dir)
    if run is None:
        raise no_run(name, runs_dir, also)
    return run


def no_run(name: str, runs_dir: Path, also: str = "") -> RunError:
    """The one refusal of a name that fits no run; it names the nearest."""
    there = [run.path.name for run in all_runs(runs_dir)]
    words = {word: run for run in there for word in (run, *run.rsplit("-", 1))}
    near = difflib.get_close_matches(name, words, n=1)
    hint = f"did you mean {words[near[0]]}? " if near else ""
    return RunError(f"{name!r} is no run under {runs_dir}{also}; {hint}`tipx runs` lists the runs")
