"""`tipx runs`: which runs there are, filtered and sorted by any key or metric, and their removal."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tipx.display.tables import printable, progress, run_row, runs_frame
from tipx.errors import ReportError
from tipx.files.names import wrong_path
from tipx.report.keys import filters, known, matches, refuse_unknown_keys, value
from tipx.report.metrics import FIXED, GAP, metric
from tipx.runs import metric_keys as keys
from tipx.runs.find import LAST, find_newest
from tipx.runs.listed import listed_runs
from tipx.runs.metrics_file import Row
from tipx.runs.reader import StoredRun, open_run

PLACES = ("group", "state", "run")
SHOWN = ("run", "state", "rule", "ratio", "seed", "kept", "before", "after")


def chosen(runs_dir: Path, words: Sequence[str]) -> list[StoredRun]:
    """Runs that fit every `key=value`, oldest first; `a=x,y` is either. Raises ReportError for an unknown key."""
    runs = listed_runs(runs_dir)
    pairs = filters(words)
    whole = [run for run in runs if run.damage is None]
    named = [key for key, _ in pairs if key not in PLACES]
    if whole and named:
        refuse_unknown_keys(named, whole, "tipx runs")
    return [run for run in runs if all(fits(run, key, given) for key, given in pairs)]


def fits(run: StoredRun, key: str, given: str) -> bool:
    """Whether a run has one of the values; what is damaged has a place and no values."""
    return not (run.damage and key not in PLACES) and matches(fact(run, key), given)


def fact(run: StoredRun, name: str) -> Any:
    """Where it is, how far it got, a choice, a key, or a metric such as math500.mean or kept."""
    if name in PLACES:
        return {"group": run.group, "run": run.name, "state": run.state}[name]
    found = measured(run, name)
    return value(run, name) if found is None else found


def measured(run: StoredRun, name: str) -> float | None:
    """`BENCHMARK.METRIC` at the last step, `kept` and the like, or a key of metrics.jsonl; None if it is none."""
    if keys.is_key(name) and name not in run.choices:
        return metric(name).read(run, {})
    benchmark, _, kind = name.rpartition(".")
    for _, facts in run.results:
        if facts.get("benchmark") == benchmark and benchmark:
            return metric(kind if (kind in FIXED and kind != GAP) or "@" in kind else f"result.{kind}").read(run, facts)
        if name in FIXED and FIXED[name].source == "heldout" and "perplexity" in facts:
            return FIXED[name].read(run, facts)
    return FIXED[name].read(run, {}) if name in FIXED and FIXED[name].source == "run" else None


def listed(runs: Sequence[StoredRun], sort: str | None, columns: Sequence[str], *, wide: bool = False) -> pd.DataFrame:
    """One row a run. Metrics sort from high to low, all else upwards. Raises ReportError for a name nobody has.

    Without `columns` there are those of `SHOWN`, or, if it is `wide`, every value of `wide_row` as it is stored.
    """
    named = [*columns, *([sort] if sort else [])]
    whole = [run for run in runs if run.damage is None]
    extra = {
        name: [fact(run, name) if run.damage is None or name in PLACES else None for run in runs]
        for name in named
        if name not in SHOWN or (name == "state" and not wide)
    }
    for name, found in extra.items():
        if all(one is None for one in found) and name not in known(whole):
            refuse_unknown_keys([name], whole, "tipx runs")
    frame = pd.DataFrame([wide_row(run) for run in runs], dtype=object) if wide else runs_frame(runs)
    if not wide:
        frame["state"] = [*map(progress, frame["state"], frame[keys.STEP])]
    for name in [n for n in extra if n != "state"]:
        frame[name] = pd.Series([printable(value) for value in extra[name]], index=frame.index, dtype=object)
    if sort:
        down = sort in ("kept", "before", "after") or any(measured(run, sort) is not None for run in whole)
        frame = frame.sort_values(sort, ascending=not down, kind="stable", na_position="last")
    if wide and not columns:
        return frame
    wanted = ["run", *(c for c in columns if c != "run")] if columns else [*SHOWN, *([sort] if sort else [])]
    return frame[list(dict.fromkeys(wanted))]


def wide_row(run: StoredRun) -> dict[str, Any]:
    """All of a run that is one value: its facts, its last results, the choices of its groups, its configuration."""
    row = run_row(run)
    if run.damage is not None:
        return row
    measured = (
        (f"{result.benchmark or 'heldout'}.{name}", number)
        for result in run.results
        for name, number in numbers(result.facts)
    )
    for name, known_value in (*measured, *run.choices.items(), *run.config.items()):
        row.setdefault(name, printable(known_value))
    return row


def numbers(facts: Row) -> Iterator[tuple[str, Any]]:
    """(name, value) of each number of a result: those with a k, as in `pass_at`, are `pass@4`."""
    for name in ("problems", "n", "mean", "mean_se", "greedy", "greedy_se"):
        if name in facts:
            yield name, facts[name]
    for name, fact_value in facts.items():
        if name.endswith("_at") and isinstance(fact_value, dict):
            yield from ((f"{name.removesuffix('_at')}@{k}", one) for k, one in fact_value.items())
        elif isinstance(fact_value, int | float):
            yield name, fact_value


def to_remove(runs_dir: Path, words: Sequence[str]) -> list[StoredRun]:
    """Runs by name, or by filters; raises RunError or ReportError where a name fits none.

    The name of a group is refused: it might stand for its newest run, or for all of them.
    """
    names = [word for word in words if "=" not in word]
    filters = [word for word in words if "=" in word]
    found = chosen(runs_dir, filters) if filters else []
    for name in names:
        if wrong := wrong_path(name):
            raise ReportError(f"{wrong}; `tipx runs` lists the runs")
        newest = find_newest(name, runs_dir)
        if newest is not None and name != LAST:
            raise ReportError(
                f"{name!r} is a group; to remove all of its runs, type `tipx runs rm group={name}`, to remove the "
                f"newest, `tipx runs rm {newest.path.name}`"
            )
        found.append(open_run(name, runs_dir))
    found = list({one.path.resolve(): one for one in found}.values())
    for one in found:
        one.directory.refuse_removal(runs_dir)
    if not found:
        said = (
            f"none fits {' '.join(words)}" if words else "say which: tipx runs rm RUN, or tipx runs rm selector=random"
        )
        raise ReportError(f"no run to remove under {runs_dir}: {said}")
    busy = [run.name for run in found if run.locked]
    if busy:
        raise ReportError(f"{', '.join(busy)} is being written by another process; stop it first; nothing was removed")
    return found
