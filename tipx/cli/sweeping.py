"""What `tipx sweep` prints."""

from collections.abc import Sequence

import pandas as pd

from tipx.cli.options import runs_option
from tipx.display.console import console
from tipx.display.output import Form, print_frame
from tipx.errors import RunFailed
from tipx.runs import metric_keys as keys
from tipx.runs.sweep_folder import State
from tipx.sweep.plan import Plan
from tipx.sweep.screen import points_table


def print_states(plan: Plan, states: Sequence[State], form: Form, *, hashes: bool) -> None:
    """How each point stands, and where they are."""
    title = f"sweep {plan.name}: {plan.description}"
    if form is Form.TABLE:
        console().print(points_table(states, title, hashes=hashes))
    else:
        print_frame(points_frame(plan, states), title, form)
    said = console(stderr=form is not Form.TABLE, soft_wrap=True, highlight=False)
    said.print(f"folder   {plan.board.folder}")


def points_frame(plan: Plan, states: Sequence[State]) -> pd.DataFrame:
    """One row a point: `point` its overrides, `run` its directory, `step` of the last line, `seconds` spent.

    Then the last accuracy on each benchmark, from 0 to 1, and the error of a point that failed.
    """
    benchmarks = sorted({name for state in states for name in state.accuracy})
    rows = [
        {
            "point": state.point.label,
            "run": state.point.run,
            "status": state.status,
            keys.STEP: state.step,
            "seconds": state.seconds,
            **{f"{name}.mean": state.accuracy.get(name) for name in benchmarks},
            "error": state.error,
            "path": str(plan.board.run(state.point).path),
        }
        for state in states
    ]
    return pd.DataFrame(rows, dtype=object)


def print_plan(plan: Plan, form: Form) -> None:
    """The plan, and how each of its points stands."""
    print_states(plan, [plan.board.state(point) for point in plan.points], form, hashes=True)


def finish_sweep(plan: Plan, states: Sequence[State], form: Form = Form.TABLE) -> None:
    """How the sweep ended; raises RunFailed if a point is not done."""
    board = plan.board
    print_states(plan, states, form, hashes=False)
    screen, hint = (console(stderr=stderr, soft_wrap=True, highlight=False) for stderr in (False, True))
    for state in states if form is Form.TABLE else ():
        if state.error:
            screen.print(f"{state.status:<8} {state.point.label}: {state.error} ({board.log(state.point)})")
    failed, left = (sum(state.status in which for state in states) for which in (("failed",), ("stopped", "waiting")))
    hint.print(f"next     tipx report {board.folder.name}{runs_option(board.folder.parent)}")
    if failed:
        raise RunFailed(f"{failed} of {len(states)} points failed; --retry-failed runs them again")
    if left:
        raise RunFailed(f"{left} of {len(states)} points were stopped; the same command continues them")
