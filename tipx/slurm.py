"""The nodes of a Slurm job step: `srun --ntasks-per-node=1` starts one command on each of them."""

import os
import shutil
import subprocess

from tipx.cores import read_count
from tipx.errors import ConfigError

FIRST_PORT, PORTS = 20000, 20000
"""Jobs that share a node meet at ports of their own, as every node can tell from the job's number."""


def count_nodes() -> int:
    """Nodes on which `srun` started this command; 1 outside of a job step."""
    return read_count("SLURM_STEP_NUM_NODES") or 1


def node_number() -> int:
    """The number of this node among them, from 0."""
    return (read_count("SLURM_NODEID") or 0) if count_nodes() > 1 else 0


def check_tasks() -> None:
    """Raises ConfigError where the job has several nodes, and this command was not started once on each."""
    nodes, tasks = count_nodes(), read_count("SLURM_STEP_NUM_TASKS")
    if "SLURM_STEP_ID" not in os.environ and (read_count("SLURM_NNODES") or 1) > 1:
        wrong = f"this Slurm job has {os.environ['SLURM_NNODES']} nodes, and tipx was started on one"
    elif nodes > 1 and tasks != nodes:
        wrong = f"srun started tipx {tasks} times on {nodes} nodes"
    else:
        return
    raise ConfigError(
        f"loop.processes: {wrong}; start it once on each: srun --ntasks-per-node=1 tipx train ... (--nodes=1 for one)"
    )


def launch_options() -> list[str]:
    """How `accelerate launch` finds the other nodes: the first one's name, and a port that all can tell."""
    listed, job = os.environ["SLURM_STEP_NODELIST"], int(os.environ["SLURM_JOB_ID"])
    if shutil.which("scontrol") is None:
        raise ConfigError(
            "loop.processes: no scontrol here to tell the first node's name; leave loop.processes out, and start "
            "torchrun on each node"
        )
    told = subprocess.run(["scontrol", "show", "hostnames", listed], capture_output=True, text=True, check=False)  # noqa: S607 - whichever Slurm the cluster has
    if told.returncode or not told.stdout.split():
        raise ConfigError(f"scontrol show hostnames {listed}: {told.stderr.strip() or 'no name came'}")
    return [
        *("--num_machines", str(count_nodes()), "--machine_rank", str(node_number())),
        *("--main_process_ip", told.stdout.split()[0], "--main_process_port", str(FIRST_PORT + job % PORTS)),
    ]
