"""Processes and devices, through accelerate. A run with one process uses the same code as one with many."""

import ctypes
import os
import time
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, Literal, Self, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, gather_object
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from tipx.cores import choose_threads
from tipx.errors import ConfigError, Interrupted, RunFailed, TipxError
from tipx.files.atomic import disk_error, error_number
from tipx.files.untrusted import RAISED, error_text
from tipx.sharding import Sharding
from tipx.spec import Auto, Count, Few, spec

T = TypeVar("T")
LAST_WORK_S = 0.1
"""The wait at the end. gloo's threads need the GIL to free their last tensors, and Python's exit would abort them."""


@spec
class Hardware:
    """How the work is laid out on the machine. It changes speed and memory, but not which run it is."""

    device: Literal["auto", "cpu"]
    """auto is the accelerator if there is one, else the CPU."""
    micro_batch: Count
    """Sequences of the step's longest length in one forward pass; of shorter ones there are more. Less is less
    memory."""
    gradient_checkpointing: bool
    """true computes a layer's activations again in the backward pass instead of keeping them: less memory, more
    time."""
    threads: Few | Auto
    """torch threads of each process on the CPU. auto: those that the run began with; else OMP_NUM_THREADS, or this
    process's share of the machine's cores."""
    tf32: bool
    """true: a GPU multiplies fp32 matrices in TF32, with 10 bits of each factor. It is several times faster, and
    matters for loop.precision=no."""
    strategy: Literal["ddp", "fsdp"]
    """How several processes share the work. ddp: each has both models whole. fsdp: weights, gradients and optimizer
    state of the student, and the weights of the teacher, are shared out (PyTorch's FSDP2)."""
    fsdp_size: Count | Auto
    """Processes that share one copy of the models, with strategy=fsdp. auto is all. 8 on two nodes of 8: each node has
    a copy, and only gradients go between nodes (HSDP)."""
    reshard_after_forward: bool
    """With strategy=fsdp: true frees a layer after its forward pass and gathers it again for the backward pass. false
    keeps it: faster, more memory."""
    cpu_offload: bool
    """With strategy=fsdp: true keeps the student's shards, their gradients and the optimizer's state on the CPU. Much
    less memory of a GPU, and much slower."""
    gather_dtype: Literal["auto", "float32", "bfloat16"]
    """Type of a layer's weights while it is whole, with strategy=fsdp. auto: bfloat16 with loop.precision=bf16, else
    the weights' own. float32 with loop.precision=bf16 rounds as ddp does, and sends twice as much."""
    timeout_min: Count
    """Minutes that processes wait for each other before the run ends. One may sample for long while others are ready;
    a process that died is noticed earlier on most networks."""

    def start(self, precision: str, threads: int | None = None) -> "World":
        """Join the other processes, if `accelerate launch` started several.

        `threads` are those that a run began with, and count where the key says auto.
        """
        torch.set_num_threads((threads or choose_threads()) if self.threads == "auto" else self.threads)
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        group = InitProcessGroupKwargs(timeout=timedelta(minutes=self.timeout_min))
        if self.cpu_offload and self.device != "cpu" and torch.cuda.is_available():
            group.backend = "cpu:gloo,cuda:nccl"  # the norm of gradients is then summed up on the CPU
        accelerator = Accelerator(cpu=self.device == "cpu", mixed_precision=precision, kwargs_handlers=[group])
        return World(accelerator, self.share_weights(accelerator, precision))

    def share_weights(self, accelerator: Accelerator, precision: str) -> Sharding | None:
        """How the models' weights are shared out, None where each process has them whole. Raises ConfigError."""
        if self.strategy == "ddp":
            return None
        processes = accelerator.num_processes
        size = self.count_sharers(processes)
        device, names = accelerator.device.type, ("replicate", "shard")
        mesh = (
            init_device_mesh(device, (size,), mesh_dim_names=names[1:])
            if size == processes
            else init_device_mesh(device, (processes // size, size), mesh_dim_names=names)
        )
        dtype = self.choose_whole_dtype(precision)
        return Sharding(mesh, dtype, reshard=self.reshard_after_forward, offload=self.cpu_offload)

    def count_sharers(self, processes: int) -> int:
        """How many of so many processes share one copy of the models, with strategy=fsdp. Raises ConfigError."""
        if processes == 1:
            raise ConfigError(
                "hardware.strategy=fsdp shares the weights out over processes, and there is one; start several, as "
                "loop.processes=2, or type hardware.strategy=ddp"
            )
        size = processes if self.fsdp_size == "auto" else self.fsdp_size
        if processes % size:
            raise ConfigError(
                f"hardware.fsdp_size={size}: {processes} processes do not divide into groups of {size}; give a divisor"
            )
        return size

    def choose_whole_dtype(self, precision: str) -> torch.dtype | None:
        """The type of weights while they are whole, with strategy=fsdp. None is their own."""
        narrow = self.gather_dtype == "bfloat16" or (self.gather_dtype == "auto" and precision == "bf16")
        return torch.bfloat16 if narrow else None


class World:
    """This process among all processes: its rank and device, and the collective operations.

    Every process must call a collective operation (`gather_*`, `broadcast`, `all_reduce_*`, `any_rank`, `barrier`) at
    the same point, else the others wait for ever.
    """

    def __init__(self, accelerator: Accelerator, sharding: Sharding | None = None) -> None:
        self.accelerator, self.sharding = accelerator, sharding
        self.device: torch.device = accelerator.device
        self.rank: int = accelerator.process_index
        self.size: int = accelerator.num_processes
        self.is_main: bool = accelerator.is_main_process

    @property
    def device_name(self) -> str:
        """As a person knows it: cpu, or the name of a GPU."""
        return torch.cuda.get_device_name() if self.device.type == "cuda" else str(self.device)

    @property
    def memory(self) -> int:
        """Bytes that this process may take: its GPU's, or its share of the machine's."""
        if self.device.type == "cuda":
            return int(torch.cuda.get_device_properties(self.device).total_memory)
        return machine_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

    @property
    def threads(self) -> int:
        """Of this process, on the CPU."""
        return torch.get_num_threads()

    @property
    def layout(self) -> dict[str, Any]:
        """How the weights are laid on the processes, to be noted: it decides how sums are rounded."""
        if self.sharding is None:
            return {"strategy": "ddp"}
        whole = "own" if self.sharding.dtype is None else str(self.sharding.dtype).removeprefix("torch.")
        return {"strategy": "fsdp", "fsdp_size": self.sharding.mesh.shape[-1], "gather_dtype": whole}

    def autocast(self) -> AbstractContextManager[None]:
        """Mixed precision, where it is not the sharded weights that are in the short type."""
        narrow = self.sharding is not None and self.sharding.dtype is not None
        return nullcontext() if narrow else self.accelerator.autocast()

    @contextmanager
    def closing(self) -> Iterator[Self]:
        """Close the process group at the end of the block, if the block ends in a way that all processes reach.

        These are the normal end, ConfigError and Interrupted. Without closing, Python's exit may abort the process.
        If one process fails alone, the group is not closed: it would wait for processes that wait for it. The launcher
        that started the processes then ends the others.
        """
        keep_process_group()
        try:
            yield self
        except (ConfigError, Interrupted):
            self.close()
            raise
        except RuntimeError as error:
            if self.size > 1 and is_lost_peer(error):
                raise RunFailed(
                    "another process of this run has ended; the same command continues from the last checkpoint"
                ) from error
            raise
        self.close()

    @contextmanager
    def shared_failure(self) -> Iterator[None]:
        """An error inside of one process is raised by all of them at the end, so that none waits for it.

        It is for a block in which processes work apart: files are written, say. The main process raises what another
        one met as an OSError where that was the disk's, else as RunFailed, and so do the others all.
        """
        own: Exception | None = None
        try:
            yield
        except (*RAISED, TipxError) as error:
            own = error
        said = None if own is None else (disk_error(own) or error_text(own), error_number(own))
        first = next(((rank, *what) for rank, what in enumerate(self.gather_list([said])) if what is not None), None)
        if own is not None:
            raise own if self.is_main or isinstance(own, TipxError) else RunFailed(error_text(own)) from own
        if first is not None:
            rank, text, number = first
            text = f"{text} (process {rank + 1} of {self.size})"
            raise OSError(number, text) if self.is_main and number is not None else RunFailed(text)

    def close(self) -> None:
        """Leave the process group."""
        self.accelerator.end_training()
        if self.size > 1:
            time.sleep(LAST_WORK_S)

    def gather_BT(self, local_BT: Tensor) -> Tensor:
        """The rows of all processes in order of rank, right-padded with 0 to one width, on the CPU.

        All must have equally many.
        """
        padded = self.accelerator.pad_across_processes(local_BT, dim=1)
        return self.accelerator.gather(padded).cpu()

    def gather_list(self, local: Sequence[T]) -> list[T]:
        """The items of all processes, in order of rank."""
        return list(gather_object(list(local)))

    def broadcast(self, value: T) -> T:
        """The value of the main process, on every process."""
        return self.gather_list([value])[0]

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """The sum over processes, on every process."""
        return self.accelerator.reduce(value, reduction="sum")

    def any_rank(self, flag: bool) -> bool:  # noqa: FBT001 - a yes/no is the whole argument
        """True on every process if `flag` is true on at least one."""
        return bool(self.all_reduce_sum(torch.tensor(float(flag), device=self.device)) > 0)

    def all_reduce_max(self, number: int) -> int:
        """The largest of the processes' numbers, on every process. Numbers must not be below 0."""
        return max(self.gather_list([number])) if self.any_rank(number > 0) else 0

    def barrier(self) -> None:
        self.accelerator.wait_for_everyone()


def take_fsdp_wish(environ: MutableMapping[str, str]) -> bool:
    """Whether `accelerate launch --use_fsdp` started this process: the wish for `hardware.strategy=fsdp`.

    It is taken out of `environ`, so that accelerate does not shard what tipx shards itself.
    """
    return environ.pop("ACCELERATE_USE_FSDP", "").strip().lower() in ("1", "true", "t", "yes", "y", "on")


def machine_memory() -> int:
    """Bytes of RAM."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def keep_process_group() -> None:
    """Keep Python from ever freeing the process group, if there is one.

    The group's destructor waits for gloo's threads and keeps the GIL. The threads may need the GIL to free their last
    tensors (pytorch#56297). A run that has done everything would then hang for ever. The group's memory is freed when
    the process ends.
    """
    if torch.distributed.is_initialized():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(torch.distributed.group.WORLD))


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether the error says that another process cannot be reached. gloo has no error class of its own for this."""
    return isinstance(error, torch.distributed.DistError) or "gloo/transport" in str(error)
