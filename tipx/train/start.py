"""What `tipx train` does: from overrides to a finished run."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tipx import config
from tipx.display.progress import Quiet, Screen
from tipx.models.quiet import quiet_libraries
from tipx.processes import take_fsdp_wish
from tipx.runs.directory import Run
from tipx.runs.place import run_path
from tipx.runs.provenance import start_record
from tipx.train.dealing import deal_in_turn
from tipx.train.experiment import Experiment
from tipx.train.loop import distill
from tipx.train.session import Session, say_what_is_kept


def train_run(
    overrides: Sequence[str], *, fresh: bool, config_dir: Path | None, saved: Path | None = None
) -> tuple[Run, bool]:
    """Train the run that `overrides` describe, from wherever it stands; (run, whether there was anything to do).

    With `saved` it is the run of the configuration in that file, and `overrides` say where it goes.
    """
    if saved is None:
        cfg, choices = config.compose_with_choices(overrides, "train", config_dir)
    else:
        cfg, choices = config.load_saved(saved, overrides), {}
    exp: Experiment = config.build(cfg, config_dir)
    if wished := take_fsdp_wish(os.environ):
        exp = replace(exp, hardware=replace(exp.hardware, strategy="fsdp"))
    run = Run(run_path(config.resolve(cfg), choices))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    # Nodes may not see at the same moment that a run is finished: of several processes the main one says so, below.
    if processes == 1 and run.finished and not fresh:
        return run, False
    quiet_libraries()
    # Sums depend on the number of threads in their last bit, so a run goes on with those that it began with.
    threads = None if fresh else run.first_threads(processes)
    with say_what_is_kept(run), exp.hardware.start(exp.loop.precision, threads).closing() as world:
        deal_in_turn(exp.loop.sequences, world.size)
        if not world.is_main:
            if world.broadcast(run.finished):  # what the main process says, under the lock
                return run, False
            session = Session(exp, run, world, Quiet())
            session.prepare(fresh=fresh)
            world.barrier()
            with session.engines():
                distill(session)
            return run, True
        with run.lock(), Screen(exp.loop.steps) as screen:
            if wished:
                screen.say("accelerate launch --use_fsdp is read as hardware.strategy=fsdp")
            run.recover(screen.say)
            # Another process may have finished it between the first look and the lock.
            if world.broadcast(run.finished and not fresh):
                return run, False
            session = Session(exp, run, world, screen)
            try:
                exp.logger.check()
                run.repair(screen.say)
                session.prepare(fresh=fresh)
                tree = config.resolve_for_storage(cfg)
                Run.create(
                    run.path,
                    tree,
                    start_record(world.size, world.threads, world.device_name, world.layout),
                    fresh=fresh,
                )
                run.note("choices", choices)
                run.note("overrides", list(overrides))
                world.barrier()
                session.sink = exp.logger.open(run.path, tree)
                with session.engines():
                    distill(session)
            finally:
                session.sink.finish()
                run.recover(screen.say)
                run.discard_if_empty()
    return run, True
