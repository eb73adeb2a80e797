"""Lines of metrics.jsonl: what two runs of the same thing share, and whether each number is declared."""

from collections.abc import Mapping
from typing import Any

from tipx.runs.metric_keys import DECLARED, RENAMED, MetricKey, group
from tipx.runs.metrics_file import Row


def lasting(row: Row) -> Row:
    """A line without times and memory."""
    return {key: value for key, value in row.items() if group(key) not in ("time", "memory", "perf")}


def declared(key: str) -> MetricKey | None:
    """What a key is; None if tipx declares no such key."""
    return next((one for one in DECLARED if key == one.name or one.part_of(key) is not None), None)


def undeclared(row: Row) -> Row:
    """Numbers of a line that are not declared, or that lie outside their range."""
    return {key: value for key, value in row.items() if not fits(declared(key), value)}


def fits(one: MetricKey | None, value: Any) -> bool:
    if one is None or value is None:
        return one is not None and "null" in one.meaning
    low, high = one.unit.low, one.unit.high
    # Rounding may leave a divergence a little below 0.
    return (low is None or value >= low - 1e-6) and (high is None or value <= high)


def as_older(row: Mapping[str, Any]) -> Row:
    """A line as it was written before keys were renamed."""
    older = {new: old for old, new in RENAMED.items()}
    return {older.get(key, key): value for key, value in row.items()}
