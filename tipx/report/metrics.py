"""What can stand in a cell."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

from tipx.errors import ReportError
from tipx.report.comparison import SETTINGS, setting
from tipx.runs import metric_keys as keys
from tipx.runs.metrics_file import Row
from tipx.runs.reader import StoredRun
from tipx.runs.results import Result
from tipx.runs.step_times import step_times
from tipx.stats.estimates import pass_at_k

MIB_TO_GB = 2**20 / 1e9
GAP = "gap"
"""The value that a table turns from the mean into a share of the way from start to teacher."""
SAVED = "saved"
"""The value that a table turns from seconds a step into a share of the baseline's."""
LAST = 10
"""Lines of metrics that a key of them is the mean of."""


@dataclass(frozen=True)
class Metric:
    """A number of a run (`source` run or heldout), or of one of its benchmarks.

    `read` takes the run and the result's facts. Where `problems` is there it gives a value for each problem, to be
    tested in pairs; else `tested` says whether the values of seeds are. `scale` and `digits` are for display.
    """

    name: str
    title: str
    read: Callable[[StoredRun, Row], float | None]
    source: Literal["benchmark", "heldout", "run"] = "benchmark"
    error: str | None = None
    problems: Callable[[Row], dict[str, float]] | None = None
    better: Literal["high", "low"] | None = None
    tested: bool = False
    scale: float = 1.0
    digits: int = 3

    def headed(self, results: Sequence[Row]) -> str:
        """The title, with the number of samples if all results have one."""
        counts = {result.get("n") for result in results}
        return self.title.replace("@n", f"@{counts.pop()}" if len(counts) == 1 else "")


def entry(*path: str) -> Callable[[StoredRun, Row], float | None]:
    """Reads a number of result.json, or of a section of it."""

    def read(_: StoredRun, result: Row) -> float | None:
        found: Any = result
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None

    return read


def scores(result: Row) -> dict[str, float]:
    """Share of each problem's samples that were right; {} for a result of before these were kept."""
    return dict(result.get("scores", {}))


def first_like(run: StoredRun, result: Row) -> Result | None:
    """The result before the first step that was evaluated as this one was; by the same version of the grader if any."""
    settings = [key for key in SETTINGS if key != "grading"]
    found = [one for one in run.first_results if all(setting(one.facts, k) == setting(result, k) for k in settings)]
    return next((one for one in found if same_grader(one.facts, result)), found[0] if found else None)


def same_grader(one: Row, other: Row) -> bool:
    """Whether one version of the grader graded both."""
    return bool(setting(one, "grading") == setting(other, "grading"))


def before(run: StoredRun, result: Row) -> float | None:
    """The mean before the first step."""
    found = first_like(run, result)
    return float(found.facts["mean"]) if found else None


def over_steps(key: str) -> Callable[[StoredRun, Row], float | None]:
    """Reads the mean of a key of metrics.jsonl over all steps that have it."""

    def read(run: StoredRun, _: Row) -> float | None:
        found = run.values(key)
        return fmean(found) if found else None

    return read


def memory(run: StoredRun, _: Row) -> float | None:
    """Highest peak of any phase of any training step, GB; an evaluation's memory is not counted."""
    found = [peak for phase in keys.TRAINING for peak in run.values(keys.MEMORY.of(phase))]
    return max(found) * MIB_TO_GB if found else None


def seconds(run: StoredRun, _: Row) -> float | None:
    """Of a training step."""
    times = step_times(run.rows)
    return None if times is None else times.seconds


def share_of_step(phase: str) -> Callable[[StoredRun, Row], float | None]:
    """Reads the share of a training step's time that a phase takes."""

    def read(run: StoredRun, _: Row) -> float | None:
        times = step_times(run.rows)
        return None if times is None else times.shares[phase]

    return read


def truncated(_: StoredRun, result: Row) -> float | None:
    """Share of answers cut by the length limit."""
    found = [result.get("clipped_ratio")]
    outcomes = result.get("outcomes") or {}
    if sum(outcomes.values()):
        found.append(outcomes.get("truncated", 0) / sum(outcomes.values()))
    return max((x for x in found if x is not None), default=None)


SHOWN = ("rollout", "score", "train")
"""Phases whose shares of a step's time have a column. Selecting takes next to nothing."""
TIME = ("step_s", *(f"{phase}_share" for phase in SHOWN))
PERCENT: dict[str, Any] = {"scale": 100.0, "digits": 1}
FIXED = {
    one.name: one
    for one in (
        Metric(
            "mean", "mean@n, %", entry("mean"), error="mean_se", problems=scores, better="high", tested=True, **PERCENT
        ),
        Metric("before", "before training, %", before, **PERCENT),
        Metric(
            GAP,
            "gap recovered, %",
            entry("mean"),
            error="mean_se",
            problems=scores,
            better="high",
            tested=True,
            **PERCENT,
        ),
        Metric("greedy", "greedy, %", entry("greedy"), error="greedy_se", better="high", tested=True, **PERCENT),
        Metric("length", "mean length, tokens", entry("mean_length"), digits=1),
        Metric("truncated", "truncated, %", truncated, better="low", **PERCENT),
        Metric(
            "perplexity",
            "held-out perplexity",
            entry("perplexity"),
            "heldout",
            "perplexity_se",
            better="low",
            tested=True,
        ),
        Metric(
            "reverse_kl",
            "held-out reverse KL, nats",
            entry("reverse_kl"),
            "heldout",
            "reverse_kl_se",
            better="low",
            tested=True,
        ),
        Metric(
            "forward_kl",
            "held-out forward KL, nats",
            entry("forward_kl"),
            "heldout",
            "forward_kl_se",
            better="low",
            tested=True,
        ),
        Metric("kept", "tokens kept, %", over_steps(keys.KEPT_FRAC), "run", **PERCENT),
        *(
            Metric(
                name, f"kept from {name.upper()}, %", over_steps(keys.QUADRANT_FRAC_OF_KEPT.of(name)), "run", **PERCENT
            )
            for name in keys.QUADRANTS
        ),
        Metric("memory", "peak memory, GB", memory, "run", better="low", digits=2),
        Metric("step_s", "seconds a step", seconds, "run"),
        *(
            Metric(f"{phase}_share", f"{phase}, % of the step", share_of_step(phase), "run", **PERCENT)
            for phase in SHOWN
        ),
        Metric(SAVED, "saved of the step, %", seconds, "run", **PERCENT),
    )
}


def metric(name: str) -> Metric:
    """By its name in a report; raises ReportError.

    Besides the fixed names: `pass@4`, `maj@4`, `best@4` (an agent's), a key of metrics.jsonl (it has a slash; the mean
    of the last ten lines that have it; an older name is that of today), or `result.KEY`, any number of result.json.
    """
    if name in FIXED:
        return FIXED[name]
    if found := re.fullmatch(r"(pass|maj|best)@(\d+)", name):
        kind, k = found[1], int(found[2])
        made = Metric(name, f"{name}, %", entry(f"{kind}_at", str(k)), better="high", tested=kind == "pass", **PERCENT)
        return replace(made, problems=lambda result: passes(result, k)) if kind == "pass" else made
    if keys.is_key(name):
        key = keys.current(name)
        return Metric(key, key, lambda run, _: lately(run, key), "run")
    if name.startswith("result."):
        key = name.removeprefix("result.")
        return Metric(name, key, entry(key), error=f"{key}_se")
    raise ReportError(
        f"unknown value {name!r}; expected one of {', '.join(FIXED)}, pass@K, maj@K, best@K, a key of metrics.jsonl "
        f"such as {keys.REVERSE_KL.of('all')}, or result.KEY"
    )


def passes(result: Row, k: int) -> dict[str, float]:
    """pass@k of each problem."""
    n = int(result.get("n", 0))
    return {problem: pass_at_k(n, round(s * n), k) for problem, s in scores(result).items()} if k <= n else {}


def lately(run: StoredRun, key: str) -> float | None:
    found = run.values(key)[-LAST:]
    return fmean(found) if found else None
