"""What `tipx sweep` prints."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from tipx.display.console import console
from tipx.errors import RunFailed
from tipx.runs.sweep_folder import State
from tipx.sweep.plan import Plan
from tipx.sweep.screen import points_table


def sweep_title(plan: Plan) -> str:
    return f"sweep {plan.name}: {plan.description}"


def show_plan(plan: Plan) -> None:
    """The plan, and how each of its points stands."""
    states = [plan.board.state(point) for point in plan.points]
    screen = console()
    screen.print(points_table(states, sweep_title(plan), hashes=True))
    screen.print(f"folder   {plan.board.folder}", soft_wrap=True, highlight=False)


def finish_sweep(plan: Plan, states: Sequence[State]) -> None:
    """How the sweep ended; raises RunFailed if a point is not done."""
    screen, board = console(soft_wrap=True, highlight=False), plan.board
    console().print(points_table(states, sweep_title(plan)))
    place = "" if board.folder.parent == Path("runs") else f" --runs-dir {shlex.quote(str(board.folder.parent))}"
    screen.print(f"folder   {board.folder}\nreport   tipx report {board.folder.name}{place}")
    for state in states:
        if state.error:
            screen.print(f"{state.status:<8} {state.point.label}: {state.error} ({board.log(state.point)})")
    failed, left = (sum(state.status in which for state in states) for which in (("failed",), ("stopped", "waiting")))
    if failed:
        raise RunFailed(f"{failed} of {len(states)} points failed; --retry-failed runs them again")
    if left:
        raise RunFailed(f"{left} of {len(states)} points were stopped; the same command continues them")
