"""tipx show"""

from pathlib import Path

from tipx.cli.options import AsJson, ConfigDir, Overrides, RunsDir


def show(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    runs_dir: RunsDir = Path("runs"),
    *,
    as_json: AsJson = False,
) -> None:
    """The resolved configuration of a run (its path, name or hash) or of overrides, and where each value came from.

    It is YAML with the origins as comments. `--json` has value and origin of each key.
    """
    from tipx.display.config_yaml import config_of_overrides, config_of_run, config_yaml, named_run, values_and_origins
    from tipx.display.console import console

    words = overrides or []
    run = named_run(words, runs_dir)
    shown = config_of_overrides(words, config_dir) if run is None else config_of_run(run, config_dir)
    if as_json:
        from tipx.display.output import print_json

        print_json(values_and_origins(shown))
    else:
        console(soft_wrap=True, highlight=False).print(config_yaml(shown), end="")
