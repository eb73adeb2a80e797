"""Where a step's time goes, on made-up lines."""

from typing import Any

import pytest

from tipx.runs.metrics_file import MetricRows
from tipx.runs.step_times import StepTimes, step_times


def lines(*steps: dict[str, Any]) -> MetricRows:
    """From step 1 on; names of phases are those of their times."""
    rows = [{f"time/{phase}_s": seconds for phase, seconds in step.items()} for step in steps]
    return MetricRows([{"step": number} | row for number, row in enumerate([{"time/eval_s": 99.0}, *rows])])


def test_medians_over_all_steps_but_the_first() -> None:
    steps = (
        {"rollout": 900.0, "score": 1.0, "select": 0.0, "train": 1.0},
        {"rollout": 6.0, "score": 1.0, "select": 1.0, "train": 2.0, "eval": 50.0, "monitor": 7.0},
        {"rollout": 5.0, "score": 2.0, "select": 0.0, "train": 1.0},
        {"rollout": 1.0, "score": 1.0, "select": 0.0, "train": 18.0},
    )
    # Seconds are 10, 8 and 20; shares of rollout 0.6, 0.625 and 0.05.
    shares = {"rollout": 0.6, "score": 0.1, "select": 0.0, "train": 0.2}
    assert step_times(lines(*steps)) == StepTimes(10.0, shares)
    # Of one step there is no other.
    only = step_times(lines(*steps[:1]))
    assert only is not None
    assert (only.seconds, only.shares["rollout"]) == (902.0, 900 / 902)


def test_a_phase_that_was_not_logged_took_no_time() -> None:
    """Runs of before, and rules that need no score."""
    found = step_times(lines({"train": 9.0}, {"rollout": 3.0, "train": 1.0}, {"rollout": 3.0, "train": 1.0}))
    assert found == StepTimes(4.0, {"rollout": 0.75, "score": 0.0, "select": 0.0, "train": 0.25})


@pytest.mark.parametrize("steps", [(), ({},), ({"train": 0.0}, {"train": None}), ({"eval": 3.0},)])
def test_nothing_was_timed(steps: tuple[dict[str, Any], ...]) -> None:
    assert step_times(lines(*steps)) is None
