"""tipx show"""

from typing import Annotated

import typer

from tipx.cli.completion import complete_run_or_overrides
from tipx.cli.options import RUN_HELP, AsJson, ConfigDir, RunsDir, add_runs_dir, spell_run, take_runs_dir

RunOrOverrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN|OVERRIDES",
        help=f"{RUN_HELP}; or Hydra overrides, e.g. selector=q3_only ratio=0.1",
        autocompletion=complete_run_or_overrides,
    ),
]


def show(
    overrides: RunOrOverrides = None,
    config_dir: ConfigDir = None,
    runs_dir: RunsDir = None,
    *,
    as_json: AsJson = False,
) -> None:
    """The resolved configuration of a run (its path, name or hash) or of overrides, and where each value came from.

    It is YAML with the origins as comments. `--json` has value and origin of each key.

    `tipx show selector=q3_only ratio=0.1`
    """
    from tipx.display.config_yaml import config_of_overrides, config_of_run, config_yaml, named_run, values_and_origins
    from tipx.display.console import console

    rest, place = take_runs_dir(overrides, runs_dir)
    words = add_runs_dir(overrides, runs_dir)
    run = named_run([spell_run(rest[0], place)] if len(rest) == 1 else rest, place)
    shown = config_of_overrides(words, config_dir) if run is None else config_of_run(run, config_dir)
    if as_json:
        from tipx.display.output import print_json

        print_json(values_and_origins(shown))
    else:
        console(soft_wrap=True, highlight=False).print(config_yaml(shown), end="")
