"""What a user may name: a config group, whose value is the choice made there, or any dotted key."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import yaml

from tipx.errors import ReportError
from tipx.moved import current_target
from tipx.report.store import Planned, Store
from tipx.runs.reader import StoredRun

Value = Any
UNBUDGETED = ("all", "positive")
"""Choices of selector/pick that have no ratio, whatever the command said."""
RATIO = "selector.pick.ratio"


def value(run: StoredRun, key: str) -> Value:
    """Of a group the choice, of a key what the run had there, None if it had nothing.

    Raises ReportError for a group of a run whose choices were not noted.
    """
    if key == "ratio":  # every token has none, whatever the command said
        return run.config.get(RATIO)
    if key in run.choices:
        return run.choices[key]
    if key in run.config:
        return run.config[key]
    if not run.choices and any(other.startswith(f"{key.replace('/', '.')}.") for other in run.config):
        raise ReportError(
            f"{key}: {run.path} has no choices noted (it is old, or of --config); name dotted keys instead "
            f"({key.replace('/', '.')}._target_), or train it again with --fresh"
        )
    return None


def planned_value(planned: Planned, key: str, runs: Iterable[StoredRun]) -> Value:
    """What a run that is not there yet will have: what its overrides say, else what others have that say nothing."""
    if key == "ratio" and planned.point.choices.get("selector/pick") in UNBUDGETED:
        return None
    if key in planned.point.choices:
        return planned.point.choices[key]
    if key in planned.typed:
        return yaml.safe_load(planned.typed[key])
    found = {value(run, key) for run in runs if key not in run.typed} - {None}
    return found.pop() if len(found) == 1 else None


def filters(words: Iterable[str]) -> list[tuple[str, str]]:
    """(key, value) of every `key=value`; raises ReportError."""
    found = []
    for word in words:
        key, equals, given = word.partition("=")
        if not equals or not key:
            raise ReportError(f"{word!r}: expected KEY=VALUE, as in selector=soft_or or optim.lr=1e-4")
        found.append((key, given))
    return found


def matches(have: Value, given: str) -> bool:
    """Whether a value is one of `x,y`, as text or as YAML reads it."""
    return any(current_target(one) == str(have) or number(as_yaml(one)) == have for one in given.split(","))


def as_yaml(text: str) -> Any:
    """As YAML reads it; text that it cannot read is itself."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def number(one: Any) -> Any:
    """YAML takes 1e-4 for text."""
    try:
        return float(one) if isinstance(one, str) else one
    except ValueError:
        return one


def where(store: Store, words: Sequence[str]) -> Store:
    """The runs and points that fit every `key=value`; raises ReportError for a key nobody has, and if none fits."""
    pairs = filters(words)
    refuse_unknown_keys([key for key, _ in pairs], store.runs, "--where")
    kept = [run for run in store.runs if all(matches(value(run, key), given) for key, given in pairs)]
    if not kept:
        values = {key: dict.fromkeys(shown(value(run, key)) for run in store.runs) for key, _ in pairs}
        listed = "; ".join(f"{key} is {', '.join(found)}" for key, found in values.items())
        raise ReportError(f"--where {' '.join(words)}: no run fits; {listed}")
    there, kept_ones = ({run.path for run in runs} for runs in (store.runs, kept))
    points = [
        point
        for point in store.points
        if point.path in kept_ones
        or (
            point.path not in there
            and all(matches(planned_value(point, key, store.runs), given) for key, given in pairs)
        )
    ]
    return replace(store, runs=tuple(kept), points=tuple(points))


def known(runs: Sequence[StoredRun]) -> list[str]:
    """Every name there is a value for."""
    names: dict[str, None] = {"ratio": None}
    for run in runs:
        names |= dict.fromkeys([*run.choices, *run.config])
    return list(names)


def refuse_unknown_keys(keys: Iterable[str], runs: Sequence[StoredRun], where: str) -> None:
    """Raises ReportError for a key that no run has."""
    names = known(runs)
    groups = {name.rsplit(".", 1)[0].replace(".", "/") for name in names}
    for key in keys:
        if key not in names and key not in groups:
            near = difflib.get_close_matches(key, names, n=3, cutoff=0.4)
            raise ReportError(
                f"{where}: no run has the key {key!r}; expected a config group such as selector, or a dotted key"
                + (f"; near: {', '.join(near)}" if near else "")
            )


def shown(one: Value) -> str:
    """A value as a person types it; - for nothing."""
    if one is None:
        return "-"
    return f"{one:g}" if isinstance(one, float) else str(one)


def label(values: Iterable[Value]) -> str:
    """`soft_or 0.5`: the values that are there."""
    return " ".join(shown(one) for one in values if one is not None)


def under(key: str, names: Iterable[str]) -> bool:
    """Whether a key is one of these, or lies below one, or below the section of a config group."""
    flat = RATIO if key == "ratio" else key.replace("/", ".")
    sections = {RATIO if name == "ratio" else name.replace("/", ".") for name in names}
    return any(flat == section or flat.startswith(f"{section}.") for section in sections)
