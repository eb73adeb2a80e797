"""tipx show"""

from pathlib import Path

from tipx.cli.options import ConfigDir, Overrides, RunsDir


def show(overrides: Overrides = None, config_dir: ConfigDir = None, runs_dir: RunsDir = Path("runs")) -> None:
    """The resolved configuration of a run (its path, name or hash) or of overrides, and where each value came from."""
    from tipx.display.config_table import overrides_table, run_table, the_run
    from tipx.display.console import console

    words = overrides or []
    run = the_run(words, runs_dir)
    console().print(overrides_table(words, config_dir) if run is None else run_table(run, config_dir))
