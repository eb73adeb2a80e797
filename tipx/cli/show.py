"""tipx show"""

from pathlib import Path

from tipx.cli.options import ConfigDir, Overrides, RunsDir


def show(overrides: Overrides = None, config_dir: ConfigDir = None, runs_dir: RunsDir = Path("runs")) -> None:
    """The resolved configuration of a run (its path, name or hash) or of overrides, and where each value came from."""
    from rich.console import Console

    from tipx.run import find_run
    from tipx.showing import overrides_table, run_table

    words = overrides or []
    run = find_run(words[0], runs_dir) if len(words) == 1 and "=" not in words[0] else None
    Console().print(overrides_table(words, config_dir) if run is None else run_table(run))
