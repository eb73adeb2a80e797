"""Where the time of a training step goes, from the lines of metrics."""

from dataclasses import dataclass
from statistics import median

from tipx.runs import metric_keys as keys
from tipx.runs.metrics_file import MetricRows


@dataclass(frozen=True)
class StepTimes:
    """Medians over steps: seconds of a step, and of each of its phases the share from 0 to 1.

    A step is the phases `TRAINING`: evaluations, saved samples and the log's own passes are no part of it. Each share
    is a median of its own, so that one slow step moves none of them; they may add up to a little more or less than 1.
    """

    seconds: float
    shares: dict[str, float]


def step_times(rows: MetricRows) -> StepTimes | None:
    """Of all steps but the first, which also loads and compiles, unless there is no other. None where none was timed.

    A phase that a step did not log took no time.
    """
    series = {phase: rows.series(keys.TIME.of(phase)) for phase in keys.TRAINING}
    timed = sorted(set().union(*series.values()))
    totals = {step: sum(values.get(step, 0.0) for values in series.values()) for step in timed}
    steps = [step for step in timed if step > 1 and totals[step] > 0] or [step for step in timed if totals[step] > 0]
    if not steps:
        return None
    shares = {phase: median(values.get(step, 0.0) / totals[step] for step in steps) for phase, values in series.items()}
    return StepTimes(median(totals[step] for step in steps), shares)
