"""Every number of every run: the long form that tables are made from."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tipx.report.comparison import SETTINGS
from tipx.report.comparison import setting as setting_of
from tipx.report.keys import value
from tipx.report.metrics import Metric
from tipx.runs.metrics_file import Row
from tipx.runs.reader import StoredRun

Setting = tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """One number of one run, and the file it stands in. `error` is its standard error over problems."""

    run: StoredRun
    benchmark: str | None
    metric: Metric
    value: float
    error: float | None
    file: Path
    facts: Row

    def key(self, name: str) -> Any:
        """The run's value of a row or column."""
        return self.benchmark if name == "benchmark" else value(self.run, name)


def measure(runs: Sequence[StoredRun], metrics: Sequence[Metric]) -> list[Measured]:
    """Every metric of every run, and of each of its benchmarks."""
    usual = Counter(setting(facts) for run in runs for _, facts in run.results)
    return [one for run in runs for one in of_run(run, metrics, usual)]


def of_run(run: StoredRun, metrics: Sequence[Metric], usual: Counter[Setting]) -> Iterator[Measured]:
    for metric in metrics:
        for benchmark, file, facts in sources(run, metric, usual):
            if (one := read(run, benchmark, metric, file, facts)) is not None:
                yield one


def read(run: StoredRun, benchmark: str | None, metric: Metric, file: Path, facts: Row) -> Measured | None:
    """A metric in the facts of a file; None if it is not there."""
    found = metric.read(run, facts)
    error = facts.get(metric.error) if metric.error else None
    return None if found is None else Measured(run, benchmark, metric, found, error, file, facts)


def sources(run: StoredRun, metric: Metric, usual: Counter[Setting]) -> Sequence[tuple[str | None, Path, Row]]:
    """(benchmark, file, facts) of what a metric is read from.

    Of several results on one benchmark that with the settings most runs have is taken, so that cells are alike.
    """
    if metric.source == "run":
        return [(None, run.directory.metrics_file, {})]
    if metric.source == "heldout":
        return [(None, file, facts) for file, facts in run.results if "perplexity" in facts][:1]
    best: dict[str, tuple[Path, Row]] = {}
    for file, facts in run.results:
        name = facts.get("benchmark")
        if name is not None and (name not in best or rank(facts, usual) > rank(best[name][1], usual)):
            best[str(name)] = file, facts
    order = [v for key, v in run.config.items() if key.startswith("benchmark.") and key.endswith(".name")]
    found = [(name, file, facts) for name, (file, facts) in best.items()]
    return sorted(found, key=lambda one: order.index(one[0]) if one[0] in order else len(order))


def rank(facts: Row, usual: Counter[Setting]) -> tuple[int, bool, int]:
    return usual[setting(facts)], not facts.get("partial"), int(facts.get("n", 0))


def setting(facts: Row) -> Setting:
    """How it was evaluated, as far as it decides whether two results can be compared."""
    return tuple(str(setting_of(facts, key)) for key in SETTINGS)


def differing(results: Sequence[Row]) -> str:
    """Which settings of results differ."""
    found = []
    for key in [key for key in SETTINGS if key != "benchmark"]:
        values = list(dict.fromkeys(str(setting_of(facts, key)) for facts in results))
        if len(values) > 1:
            found.append(key if key in ("problems_sha256", "template", "agent") else f"{key}: {', '.join(values)}")
    return "; ".join(found)


def frame(measured: Sequence[Measured]) -> pd.DataFrame:
    """One row a run, benchmark and metric: the number, where it stands, and every choice and key of the run."""
    rows = [facts_of(one) for one in measured]
    return pd.DataFrame(rows)


def facts_of(one: Measured) -> dict[str, Any]:
    run = one.run
    return {
        "run": run.name,
        "group": run.group,
        "benchmark": one.benchmark,
        "metric": one.metric.name,
        "value": one.value,
        "se": one.error,
        "file": str(one.file),
        "path": str(run.path),
        "commit": run.start.get("commit"),
        "dirty": run.start.get("dirty"),
        **run.config,
        **run.choices,
    }
