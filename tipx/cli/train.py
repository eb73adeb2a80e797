"""tipx train"""

import sys
from typing import Annotated

import typer

from tipx.cli.options import ConfigDir, Overrides


def train(
    overrides: Overrides = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, removing what this run has")] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Distil a teacher into a student on the student's own rollouts, learning from selected tokens.

    The same command again continues a run that was stopped, and does nothing if it is finished.
    """
    from tipx import config
    from tipx.cli.done import print_run
    from tipx.train.launch import relaunch_processes

    relaunch_processes(config.load(overrides or [], "train", config_dir).loop.processes, sys.argv[1:])
    from tipx.signals import orderly
    from tipx.train.session import say_what_is_kept
    from tipx.train.start import train_run

    with orderly("train"):
        run, worked = train_run(overrides or [], fresh=fresh, config_dir=config_dir)
        with say_what_is_kept(run):
            print_run(run, worked=worked)
