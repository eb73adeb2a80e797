"""tipx sweep"""

from typing import Annotated

import typer

from tipx.cli.completion import complete_sweep
from tipx.cli.options import AsCsv, AsJson, ConfigDir, RunsDir, add_runs_dir, take_runs_dir


def sweep(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|OVERRIDES",
            help="A sweep of `tipx list sweeps` or a .yaml, then overrides; several values: a=1,2 or seed=range(0,3)",
            autocompletion=complete_sweep,
        ),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and how each point stands")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also run points that failed")] = False,
    config_dir: ConfigDir = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Run every point of a sweep that is not done: `tipx sweep controls +experiment=tiny hydra/launcher=joblib`.

    The same command again does what is left, after a kill too. Where points run is for Hydra's launchers to say.
    Without a name or overrides it lists the sweeps there are.
    """
    from tipx.display.output import choose_form

    form = choose_form(as_json=as_json, as_csv=as_csv)
    if not take_runs_dir(words, runs_dir)[0]:
        from tipx.cli.kinds import print_kind
        from tipx.cli.listing import Kind
        from tipx.config import search_path

        search_path(config_dir)  # which must be one
        return print_kind(Kind.SWEEPS, config_dir, form)
    from tipx.cli.sweeping import finish_sweep, print_plan
    from tipx.signals import orderly
    from tipx.sweep.manage import run_sweep
    from tipx.sweep.plan import plan_sweep
    from tipx.sweep.screen import Watch

    with orderly("sweep"):
        planned = plan_sweep(add_runs_dir(words, runs_dir), config_dir)
        if dry_run:
            return print_plan(planned, form)
        with Watch(planned.name, planned.board, planned.points) as watch:
            states = run_sweep(planned, watch.say, retry_failed=retry_failed)
        return finish_sweep(planned, states, form)
