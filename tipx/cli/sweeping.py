"""What `tipx sweep` prints."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tipx.board import State
from tipx.errors import RunFailed
from tipx.sweep.plan import Plan
from tipx.sweep.screen import points_table


def title(plan: Plan) -> str:
    return f"sweep {plan.name}: {plan.description}"


def show(plan: Plan) -> None:
    """The plan, and how each of its points stands."""
    states = [plan.board.state(point) for point in plan.points]
    console = Console()
    console.print(points_table(states, title(plan), hashes=True))
    console.print(f"folder   {plan.board.folder}", soft_wrap=True, highlight=False)


def finish(plan: Plan, states: Sequence[State]) -> None:
    """How the sweep ended; raises RunFailed if a point is not done."""
    console, board = Console(soft_wrap=True, highlight=False, markup=False), plan.board
    Console().print(points_table(states, title(plan)))
    place = "" if board.folder.parent == Path("runs") else f" --runs-dir {shlex.quote(str(board.folder.parent))}"
    console.print(f"folder   {board.folder}\nreport   tipx report {board.folder.name}{place}")
    for state in states:
        if state.error:
            console.print(f"failed   {state.point.label}: {state.error} ({board.log(state.point)})")
    failed, left = (sum(state.status in which for state in states) for which in (("failed",), ("stopped", "waiting")))
    if failed:
        raise RunFailed(f"{failed} of {len(states)} points failed; --retry-failed runs them again")
    if left:
        raise RunFailed(f"{left} of {len(states)} points were stopped; the same command continues them")
