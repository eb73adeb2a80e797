"""Finding runs: all below a folder, those of a group, or the one that a user names."""

import difflib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tipx.errors import RunError
from tipx.runs.directory import Run
from tipx.runs.mark import is_run

LAST = "@last"
"""What is typed for the newest run of all."""


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


def last_activity(path: Path) -> float:
    """When a run was last trained: its last line of metrics, or its start if it has none yet.

    What is evaluated, inspected or reported later does not count.
    """
    times = [run_age(path)]
    with suppress(OSError):
        times.append((path / "metrics.jsonl").stat().st_mtime)
    return max(times)


def find_run(name: str, runs_dir: Path) -> Run | None:
    """The run of that name; None if there is none.

    In this order: a path, the whole name of a run, `@last` or a group for its newest run (see `find_newest`), the
    beginning of a name, a hash. Raises RunError when several match, and for an empty name, which would match all.
    """
    if not name.strip():
        raise RunError(
            f"expected a run (path, name or hash), got {name!r}: is a variable not set? `tipx runs` lists them"
        )
    if is_run(Path(name)):
        return Run(Path(name))
    newest = find_newest(name, runs_dir)
    if newest is not None:
        return newest
    runs = all_runs(runs_dir)
    named = [r for r in runs if r.path.name == name]
    fits = named or [r for r in runs if r.path.name.startswith(name) or r.path.name.endswith(f"-{name}")]
    if len(fits) > 1:
        places = ", ".join(str(r.path) for r in fits[:4])
        raise RunError(f"{name!r} fits {len(fits)} runs: {places}; give {'the path' if named else 'more of the name'}")
    return fits[0] if fits else None


def find_newest(name: str, runs_dir: Path) -> Run | None:
    """The run that `@last` (of all) or the name of a group (of its runs) stands for; None for any other name.

    The newest run is the one that was trained last: see `last_activity`. A group with the name of a run stands for
    nothing. Raises RunError for `@last` where there is no run, and for any other word with @ before it.
    """
    runs = all_runs(runs_dir)
    if is_run(Path(name)) or any(run.path.name == name for run in runs):
        return None
    if name.startswith("@") and name != LAST:
        raise RunError(
            f"{name!r}: expected {LAST}, the newest run, or the name of a run or group; `tipx runs` lists them"
        )
    if name == LAST and not runs:
        raise RunError(f"{LAST}: there is no run under {runs_dir}; `tipx train` makes one")
    members = runs if name == LAST else [run for run in runs if run.path.parent.name == name]
    return max(members, key=lambda run: (last_activity(run.path), run.path.name), default=None)


def need_run(name: str, runs_dir: Path, also: str = "") -> Run:
    """What `find_run` finds; raises RunError if there is none, saying what `also` was looked for in vain."""
    run = find_run(name, runs_dir)
    if run is None:
        raise no_run(name, runs_dir, also)
    return run


def no_run(name: str, runs_dir: Path, also: str = "") -> RunError:
    """The one refusal of a name that fits no run; it names the nearest."""
    runs = all_runs(runs_dir)
    there = [run.path.name for run in runs]
    words = {word: run for run in there for word in (run, *run.rsplit("-", 1))}
    words |= {run.path.parent.name: run.path.parent.name for run in runs}
    near = difflib.get_close_matches(name, words, n=1)
    hint = f"did you mean {words[near[0]]}? " if near else ""
    return RunError(f"{name!r} is no run under {runs_dir}{also}; {hint}`tipx runs` lists the runs")
