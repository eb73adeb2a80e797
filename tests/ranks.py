"""Several processes that work together over gloo, forked from this one, which has imported everything."""

import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState

WITHIN_S = 120.0


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def run_ranks(size: int, work: Callable[[], Any], folder: Path, within_s: float = WITHIN_S) -> list[Any]:
    """What `work()` gives in each of `size` processes, in order of rank.

    Raises TimeoutError, and kills all, if they do not end; RuntimeError, with the first traceback, if one fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, children = free_port(), []
    for rank in range(size):
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            be_rank(rank, size, port, work, folder)
        children.append(child)
    left, ends = set(children), time.monotonic() + within_s
    while left:
        for child in list(left):
            if os.waitpid(child, os.WNOHANG)[0]:
                left.discard(child)
        failed = [folder / f"{rank}.error" for rank in range(size) if (folder / f"{rank}.error").exists()]
        if (failed or time.monotonic() > ends) and left:
            for child in left:
                os.kill(child, 9)
                os.waitpid(child, 0)
            if not failed:
                raise TimeoutError(f"{len(left)} of {size} processes did not end in {within_s} s")
            left.clear()
        time.sleep(0.01)
    for file in sorted(folder.glob("*.error")):
        raise RuntimeError(file.read_text())
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


def be_rank(rank: int, size: int, port: str, work: Callable[[], Any], folder: Path) -> None:
    """The life of one process."""
    code = 1
    # accelerate remembers for the life of a process how many there are.
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
        os.environ |= {key: str(value) for key, value in own.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        aside = folder / f".{rank}.tmp"
        torch.save(work(), aside)
        aside.rename(folder / f"{rank}.pt")
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        code = 0
    except BaseException:  # noqa: BLE001 - it is this process's last word
        (folder / f"{rank}.error").write_text(traceback.format_exc())
    finally:
        os._exit(code)
