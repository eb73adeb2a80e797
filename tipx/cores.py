"""The machine's cores, shared out over the processes that run here at once."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

THREADS = "OMP_NUM_THREADS"
"""The variable by which users, torchrun and joblib say how many threads a process takes."""
JOBS = "TIPX_JOBS"
"""The variable by which a sweep tells its points how many of them run on this machine at once."""
MOST = 1024


def choose_threads() -> int:
    """Threads of this process: those of OMP_NUM_THREADS, or its share of the cores."""
    return read_count(THREADS) or share_cores(read_count("LOCAL_WORLD_SIZE") or 1)


def share_cores(processes: int) -> int:
    """Cores for each of so many processes; where a sweep runs several points at once, for each process of each."""
    return max(1, count_cores() // (processes * (read_count(JOBS) or 1)))


def count_cores() -> int:
    """Those that this process may run on, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_count(name: str) -> int | None:
    """The whole number above 0 in a variable of the environment; None if there is none."""
    text = os.environ.get(name, "")
    return min(int(text), MOST) if text.isdecimal() and len(text) < 10 and int(text) > 0 else None


@contextmanager
def share_with_jobs(jobs: int) -> Iterator[None]:
    """Processes that are started inside take their part of the cores as one of so many at once."""
    before = os.environ.get(JOBS)
    os.environ[JOBS] = str(jobs)
    try:
        yield
    finally:
        if before is None:
            del os.environ[JOBS]
        else:
            os.environ[JOBS] = before
