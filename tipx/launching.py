"""Starting again as many processes: `loop.processes=8` is `accelerate launch --num_processes 8`."""

import os
import sys
from collections.abc import Sequence

from tipx.errors import ConfigError

LAUNCH = "--multi_gpu --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"
"""`--multi_gpu` is also what starts CPU processes: with `--cpu` accelerate starts one, whatever their number.
Precision is the run's own business, and port 0 is any free one, for there may be another run on this machine."""


def relaunch(processes: object, args: Sequence[str]) -> None:
    """Become `accelerate launch ... -m tipx ARGS` if that many processes are wanted and this is not one of them.

    Raises ConfigError when a launcher has started another number. `processes` is as composed: what is no number is left
    for the whole configuration to complain of.
    """
    if not isinstance(processes, int):
        return
    there = os.environ.get("WORLD_SIZE")
    if there is not None and int(there) != processes:
        raise ConfigError(
            f"loop.processes={processes}, but a launcher started {there}; leave loop.processes out, or the launcher"
        )
    if there is None and processes > 1:
        launcher = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH.split()]
        os.execv(sys.executable, [*launcher, "--num_processes", str(processes), "-m", "tipx", *args])  # noqa: S606
