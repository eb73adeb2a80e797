"""What `tipx sweep` prints."""

from collections.abc import Sequence

from rich.console import Console

from tipx.errors import RunFailed
from tipx.sweep.board import State
from tipx.sweep.plan import Plan
from tipx.sweep.screen import points_table


def show(plan: Plan) -> None:
    """The plan, and how each of its points stands."""
    states = [plan.board.state(point) for point in plan.points]
    console = Console()
    console.print(points_table(states, f"sweep {plan.board.name}: {plan.board.description}", hashes=True))
    console.print(f"folder   {plan.board.folder}", soft_wrap=True, highlight=False)


def finish(plan: Plan, states: Sequence[State]) -> None:
    """How the sweep ended; raises RunFailed if a point is not done."""
    console = Console()
    console.print(points_table(states, f"sweep {plan.board.name}: {plan.board.description}"))
    console.print(
        f"folder   {plan.board.folder}\nreport   tipx report {plan.board.folder.name}", soft_wrap=True, highlight=False
    )
    for state in states:
        if state.error:
            console.print(
                f"failed   {state.point.label}: {state.error} ({plan.board.log(state.point)})",
                soft_wrap=True,
                markup=False,
                highlight=False,
            )
    left = sum(state.status != "done" for state in states)
    if left:
        raise RunFailed(
            f"{left} of {len(states)} points are not done; see above; the same command with --retry-failed runs them again"
        )
