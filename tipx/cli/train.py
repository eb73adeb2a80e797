"""tipx train"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.imports import without_collecting
from tipx.cli.options import PATH, ConfigDir, Overrides, RunsDir, add_runs_dir


def train(
    overrides: Overrides = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, removing what this run has")] = False,
    saved: Annotated[
        Path | None,
        typer.Option("--config", **PATH, help="A whole configuration, as `tipx show` prints it, in place of overrides"),
    ] = None,
    config_dir: ConfigDir = None,
    runs_dir: RunsDir = None,
) -> None:
    """Distil a teacher into a student on the student's own rollouts, learning from selected tokens.

    The same command again continues a run that was stopped, and does nothing if it is finished.

    `tipx train selector=q3_only ratio=0.1 seed=1`
    """
    from tipx import config
    from tipx.train.launch import relaunch_processes

    words = add_runs_dir(overrides, runs_dir)
    if saved is None:
        processes = config.load(words, "train", config_dir).loop.processes
    else:  # somebody else's file may hold anything: its values are looked at first
        processes = config.build(config.load_saved(saved, words), config_dir).loop.processes
    relaunch_processes(processes, sys.argv[1:])
    from tipx.signals import orderly

    with without_collecting():
        from tipx.train.session import say_what_is_kept
        from tipx.train.start import train_run

    with orderly("train"):
        run, worked = train_run(words, fresh=fresh, config_dir=config_dir, saved=saved)
        with say_what_is_kept(run):
            from tipx.cli.done import print_next_commands, print_run

            print_run(run, worked=worked)
            print_next_commands(run, config_dir)
