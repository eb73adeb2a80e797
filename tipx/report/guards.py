"""What would make a table say something false: refused where it would mislead, noted where it must be known."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tipx.errors import ReportError
from tipx.report.keys import RATIO, label, shown, under, value
from tipx.report.long import differing, setting
from tipx.report.metrics import first_like, same_grader, truncated
from tipx.report.store import Store
from tipx.report.table import Table, Values
from tipx.runs.identity import OUTSIDE
from tipx.runs.reader import StoredRun
from tipx.runs.results import TRUNCATED

HARMLESS = ("seed", "experiment", *(key for key in OUTSIDE["Experiment"] if key != "ratio"))
"""Groups and keys that may differ: the seed, a name for several choices at once, and groups outside the identity."""
SHORTHANDS = ("norm",)
"""Outside the identity since it counts where it is interpolated, but a choice that a row can be confounded with."""
LISTED = 6


def refuse_confounds(runs: Sequence[StoredRun], keys: Sequence[str]) -> None:
    """Raises ReportError when runs differ in something that is no row, no column and no seed.

    A key is explained by a row or column that it lies under, or whose preset brings it. It is not when runs of one
    cell differ in it, or when it was typed for some runs, and for others not or with another value.
    """
    groups: dict[Values, list[StoredRun]] = {}
    for run in runs:
        groups.setdefault(tuple(value(run, key) for key in keys), []).append(run)
    names = varying(runs)
    for place, group in groups.items():
        for name in varying(group, names):
            where = f"though both are {label(place)!r}" if label(place) else "and it is no row and no column"
            raise ReportError(confounded(name, group, where, keys))
    for name in names:
        # A selector's name does not say its ratio.
        explained = {"ratio", RATIO} & {*keys} if name == "ratio" else under(name, keys)
        if not explained and typed_differently(name, runs):
            raise ReportError(confounded(name, runs, "and it is no row and no column", keys))


def varying(runs: Sequence[StoredRun], among: Iterable[str] | None = None) -> list[str]:
    """Groups, then keys, that have several values among runs; a ratio that some do not have is none."""
    first = runs[0]
    names = dict.fromkeys(name for run in runs for name in (*run.choices, *run.meaning)) if among is None else among
    different = [n for n in names if n != "ratio" and any(seen(run, n) != seen(first, n) for run in runs[1:])]
    found = [name for name in different if not harmless(name)]
    ratios = {value(run, "ratio") for run in runs} - {None}
    return ["ratio", *found] if len(ratios) > 1 else found


def harmless(name: str) -> bool:
    return name not in SHORTHANDS and (name == "ratio" or under(name, HARMLESS))


def seen(run: StoredRun, name: str) -> Any:
    return run.choices.get(name, run.meaning.get(name, run.config.get(name)))


def typed_differently(name: str, runs: Iterable[StoredRun]) -> bool:
    """Whether the commands of runs set a key, or what it lies under, in different ways."""
    found = set()
    for run in runs:
        found.add(tuple(sorted(f"{k}={v}" for k, v in run.typed.items() if k != "seed" and under(name, [k]))))
    return len(found) > 1


def confounded(name: str, runs: Iterable[StoredRun], why: str, keys: Sequence[str]) -> str:
    """One line that names the key, its values and a way out."""
    examples: dict[str, str] = {}
    for run in runs:
        one = value(run, name) if name == "ratio" else seen(run, name)
        examples.setdefault(shown(one), run.name)
    listed = " and ".join(f"{one} in {run}" for one, run in list(examples.items())[:2])
    more = f" (and {len(examples) - 2} more)" if len(examples) > 2 else ""
    return (
        f"runs differ in {name}, {why}: {listed}{more}; make it a row or a column of the report (rows are "
        f"{', '.join(keys) or 'none'}), or move the runs that do not belong to another group (`tipx runs {name}=...`)"
    )


def refuse_missing(table: Table, command: str, *, partial: bool) -> None:
    """Raises ReportError for cells that lack runs, or notes them."""
    if not table.missing:
        return
    states = Counter(m.state.split(":")[0] for m in table.missing)
    counts = ", ".join(f"{n} {state}" for state, n in states.items() if not state.startswith("finished, but"))
    listed = [f"{m.name} ({m.state})" for m in table.missing]
    some = "; ".join(listed[:LISTED]) + (f"; and {len(listed) - LISTED} more" if len(listed) > LISTED else "")
    if not partial:
        raise ReportError(
            f"{len(listed)} missing: {some}; `{command}` makes them, --partial makes the table without them"
        )
    table.notes.append(f"partial, {len(listed)} missing{f' ({counts})' if counts else ''}")
    table.names.append(f"missing: {some}")


def note_seeds(table: Table) -> None:
    """Over what the errors are, and which cells have fewer seeds."""
    counts = Counter(cell.n for cell in [*table.filled, *table.references.values()])
    if set(counts) == {1}:
        if any(cell.error is not None for cell in table.filled):
            table.notes.append("± one standard error over problems; one seed, so nothing about the noise of training")
        return
    most = max(counts)
    rest = "; other numbers of seeds in brackets" if len(counts) > 1 else ""
    single = ", where n=1 over problems" if 1 in counts else ""
    table.notes.append(f"± one standard error over {most} seeds{rest}{single}")


def note_results(table: Table) -> None:
    """Truncated answers, parts of benchmarks, and results that cannot be compared."""
    for column in table.columns:
        measured = [(row, one) for row in table.rows for one in table.cell(row, column).measured]
        name = table.head(column)
        cut = {row for row, one in measured if (truncated(one.run, one.facts) or 0) > TRUNCATED}
        if cut:
            most = max(truncated(one.run, one.facts) or 0 for row, one in measured)
            rows = ", ".join(label(row) for row in table.rows if row in cut)
            add(table, f"{name}: more than 5 % of the answers were truncated (up to {most:.0%}): {rows}")
        parts = {one.facts["problems"] for _, one in measured if one.facts.get("partial")}
        if parts:
            add(table, f"{name}: part of the benchmark, {', '.join(map(str, sorted(parts)))} problems")
        seen_before = {row: one.facts["trained_on"] for row, one in measured if one.facts.get("trained_on")}
        if seen_before:
            most = max(map(len, seen_before.values()))
            rows = ", ".join(label(row) for row in table.rows if row in seen_before)
            add(table, f"{name}: the runs were trained on problems of the benchmark (up to {most}): {rows}")
        by_model = {(value(one.run, "model") if one.run.choices else None, setting(one.facts)) for _, one in measured}
        if len(by_model) > len({model for model, _ in by_model}):
            how = differing([one.facts for _, one in measured])
            add(table, f"{name}: results were not evaluated alike, and cannot be compared ({how})")
        if column.metric.name == "before":
            firsts = [(row, one, first_like(one.run, one.facts)) for row, one in measured]
            other = {row for row, one, first in firsts if first and not same_grader(first.facts, one.facts)}
            rows = ", ".join(label(row) for row in table.rows if row in other)
            if other:
                add(
                    table,
                    f"{name}: graded by another version of the grader than after training, not comparable: {rows}",
                )


def note_code(table: Table) -> None:
    """Runs of several commits, or of a tree with changes that no commit has."""
    runs = {one.run.path: one.run for cell in table.filled for one in cell.measured}
    commits = Counter(str(run.start.get("commit"))[:8] for run in runs.values())
    if len(commits) > 1:
        table.notes.append(f"runs of {len(commits)} commits: {', '.join(f'{c} ({n})' for c, n in commits.items())}")
    if dirty := [run for run in runs.values() if run.start.get("dirty")]:
        table.notes.append(f"{len(dirty)} of {len(runs)} runs were made from a tree with uncommitted changes")


def note_damage(table: Table, store: Store) -> None:
    """Runs that cannot be read are left out, and named."""
    if store.damaged:
        table.notes.append(f"damaged runs that are left out: {len(store.damaged)}")
    table.names += [f"left out: {run.damage}" for run in store.damaged]


def add(table: Table, note: str) -> None:
    """Once: metrics of one benchmark have the same results."""
    if note not in table.notes:
        table.notes.append(note)
