"""tipx sweep"""

from typing import Annotated

import typer

from tipx.cli.options import ConfigDir


def sweep(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME] [OVERRIDES]",
            help="A sweep of `tipx list sweeps` or a .yaml, then overrides; several values: a=1,2 or seed=range(0,3)",
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and how each point stands")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also run points that failed")] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Run every point of a sweep that is not done: `tipx sweep controls +experiment=tiny hydra/launcher=joblib`.

    The same command again does what is left, after a kill too. Where points run is for Hydra's launchers to say.
    """
    from tipx.cli.sweeping import finish_sweep, show_plan
    from tipx.signals import orderly
    from tipx.sweep.manage import run_sweep
    from tipx.sweep.plan import plan_sweep
    from tipx.sweep.screen import Watch

    with orderly("sweep"):
        planned = plan_sweep(words, config_dir)
        if dry_run:
            return show_plan(planned)
        with Watch(planned.name, planned.board, planned.points) as watch:
            states = run_sweep(planned, watch.say, retry_failed=retry_failed)
        return finish_sweep(planned, states)
