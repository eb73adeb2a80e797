"""Starting again as many processes: `loop.processes=8` is `accelerate launch --num_processes 8`.

Where `srun` starts the command once on each node of a Slurm job, `loop.processes` are those of all nodes together.
"""

import logging
import os
import signal
from collections.abc import Mapping, Sequence

from tipx import slurm
from tipx.cores import THREADS, share_cores
from tipx.errors import ConfigError, Interrupted, RunFailed

LAUNCH = "--multi_gpu --mixed_precision no --dynamo_backend no"
"""`--multi_gpu` is also what starts CPU processes: with `--cpu` accelerate starts one, whatever their number.
Precision is the run's own business."""
HERE = "--num_machines 1 --main_process_port 0"
"""Port 0 is any free one, for there may be another run on this machine."""
GRACE_S = 3600
"""Seconds that processes have to save when they are told to stop. A second signal does not wait."""


def relaunch_processes(processes: object, args: Sequence[str]) -> None:
    """Be `accelerate launch ... -m tipx ARGS` if that many processes are wanted and this is not one of them.

    Then it raises SystemExit with their exit code, or Interrupted if one was killed. Raises ConfigError when a launcher
    has started another number, or Slurm's nodes are not as they must be. `processes` is as composed: what is no number
    is left for the whole configuration to complain of.
    """
    if not isinstance(processes, int):
        return
    there = os.environ.get("WORLD_SIZE")
    if there is not None and int(there) != processes:
        raise ConfigError(
            f"loop.processes={processes}, but a launcher started {there}; leave loop.processes out, or the launcher"
        )
    if there is None and processes > 1:
        launch_processes(processes, args)


def launch_processes(processes: int, args: Sequence[str]) -> None:
    """Start them, and wait. A signal that comes here is passed on once to each, and they end together."""
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    words = launch_words(processes, args)
    # accelerate would give each process one thread, which it could not tell from the user's own wish.
    os.environ.setdefault(THREADS, str(share_cores(processes // slurm.count_nodes())))
    settings = launch_command_parser().parse_args(words)
    # Of torchrun, which accelerate hands its settings to. An ignored SIGHUP (nohup) stays so.
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    settings.signals_to_handle = "SIGINT,SIGTERM" if ignored else "SIGINT,SIGTERM,SIGHUP"
    settings.shutdown_timeout = GRACE_S
    logging.disable(logging.CRITICAL)  # the processes say why they end
    try:
        launch_command(settings)
    except SignalException as stop:
        raise SystemExit(128 + stop.sigval) from None
    except ConnectionError as taken:
        raise ConfigError(f"loop.processes: another program on this node has the port: {taken}") from taken
    except DistError as alone:
        raise RunFailed(f"loop.processes: the nodes of this job did not meet: {alone}") from alone
    except ChildFailedError as failed:
        codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
        raise launch_result(codes, processes) from None
    raise SystemExit(0)


def launch_words(processes: int, args: Sequence[str]) -> list[str]:
    """The words after `accelerate launch`, on this node; raises ConfigError where nodes and processes do not fit."""
    slurm.check_tasks()
    nodes = slurm.count_nodes()
    if processes % nodes:
        raise ConfigError(f"loop.processes={processes} do not divide over {nodes} nodes; choose a multiple of {nodes}")
    where = slurm.launch_options() if nodes > 1 else HERE.split()
    return [*LAUNCH.split(), *where, "--num_processes", str(processes), "-m", "tipx", *args]


def launch_result(codes: Mapping[int, int], processes: int) -> BaseException:
    """What the exit codes of the processes that failed come to. One that was killed takes the others with it."""
    for rank, code in sorted(codes.items()):
        if code < 0 and -code not in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            hint = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
            return Interrupted(
                f"process {rank + 1} of {processes} was killed by signal {-code}{hint}; the same command continues "
                "from the last checkpoint",
                -code,
            )
    return SystemExit(max(128 - code if code < 0 else code for code in codes.values()))
