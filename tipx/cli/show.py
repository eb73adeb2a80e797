"""tipx show"""

from typing import Annotated

import typer

from tipx.cli.completion import complete_run_or_overrides
from tipx.cli.options import RUN_HELP, ConfigDir, RunsDir, add_runs_dir, spell_run, take_runs_dir

RunOrOverrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN|OVERRIDES",
        help=f"{RUN_HELP}; or Hydra overrides, e.g. selector=q3_only ratio=0.1",
        autocompletion=complete_run_or_overrides,
    ),
]


def show(overrides: RunOrOverrides = None, config_dir: ConfigDir = None, runs_dir: RunsDir = None) -> None:
    """The resolved configuration of a run (its path, name or hash) or of overrides, and where each value came from.

    `tipx show selector=q3_only ratio=0.1`
    """
    from tipx.display.config_table import overrides_table, run_table, the_run
    from tipx.display.console import console

    rest, place = take_runs_dir(overrides, runs_dir)
    words = add_runs_dir(overrides, runs_dir)
    run = the_run([spell_run(rest[0], place)] if len(rest) == 1 else rest, place)
    console().print(overrides_table(words, config_dir) if run is None else run_table(run, config_dir))
