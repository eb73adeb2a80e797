"""Processes and devices, through accelerate. One process is the plain case of many."""

import ctypes
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Self, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from tipx.errors import ConfigError, Interrupted, RunFailed
from tipx.spec import Auto, Count, Few, spec

T = TypeVar("T")
LAST_WORK_S = 0.1
"""In which gloo's threads let go of their last tensors: they need the GIL for it, and Python's end would abort them."""


@spec
class Hardware:
    """How the work is laid on the machine; changes speed and memory, never which run it is.

    As much text goes through a model at once as `micro_batch` sequences of the step's longest hold. With
    `gradient_checkpointing` a layer's activations are computed again in the backward pass instead of kept. `threads` is
    torch's own, per process.
    """

    device: Literal["auto", "cpu"]
    micro_batch: Count
    gradient_checkpointing: bool
    threads: Few | Auto

    def start(self, precision: str) -> "World":
        """Join the other processes, if `accelerate launch` started any."""
        if self.threads != "auto":
            torch.set_num_threads(self.threads)
        return World(Accelerator(cpu=self.device == "cpu", mixed_precision=precision))


class World:
    """This process among all: its rank, its device, its share of the rows, and sums and gathers over all."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.device: torch.device = accelerator.device
        self.rank: int = accelerator.process_index
        self.size: int = accelerator.num_processes
        self.is_main: bool = accelerator.is_main_process

    @contextmanager
    def closing(self) -> Iterator[Self]:
        """Parts from the other processes at the ends that all of them reach: without, leaving may abort the process.

        Not where one fails alone: it would wait for others that wait for it. Whoever started them ends those.
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

    def close(self) -> None:
        """Leave the other processes."""
        self.accelerator.end_training()
        if self.size > 1:
            time.sleep(LAST_WORK_S)

    def shard_rows(self, total: int) -> range:
        """This process's rows of `total`, contiguous; raises ConfigError when they do not divide evenly."""
        if total % self.size:
            raise ConfigError(
                f"loop.prompts * loop.rollouts = {total} sequences a step do not divide over {self.size} processes; "
                f"choose loop.prompts so that they do"
            )
        each = total // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def gather_BT(self, local_BT: Tensor) -> Tensor:
        """Every process's rows in order of the step, right-padded with 0 to one width, on the CPU."""
        padded = self.accelerator.pad_across_processes(local_BT, dim=1)
        return self.accelerator.gather(padded).cpu()

    def gather_list(self, local: Sequence[T]) -> list[T]:
        """Every process's items, in order of rank."""
        return list(gather_object(list(local)))

    def broadcast(self, value: T) -> T:
        """The main process's value, on every process."""
        return self.gather_list([value])[0]

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """Sum over processes."""
        return self.accelerator.reduce(value, reduction="sum")

    def any_rank(self, flag: bool) -> bool:  # noqa: FBT001 - a yes/no is the whole argument
        """True on every process if true on one."""
        return bool(self.all_reduce_sum(torch.tensor(float(flag), device=self.device)) > 0)

    def all_reduce_max(self, number: int) -> int:
        """The largest of the processes' numbers, none below 0."""
        return max(self.gather_list([number])) if self.any_rank(number > 0) else 0

    def barrier(self) -> None:
        self.accelerator.wait_for_everyone()


def keep_process_group() -> None:
    """Lets Python never free the process group, if there is one.

    Its destructor waits for gloo's threads without giving them the GIL, which they may be waiting for to let go of the
    last tensors (pytorch#56297); a run that has done everything would hang for ever. What the group holds ends with the
    process.
    """
    if torch.distributed.is_initialized():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(torch.distributed.group.WORLD))


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether it says that another process cannot be reached; gloo has no class of its own for it."""
    return isinstance(error, torch.distributed.DistError) or "gloo/transport" in str(error)
