r"""Is an answer right? One path for every benchmark: the last `\boxed{}`, then equality of mathematics.

No torch here. Symbolic comparison (math-verify) runs in a worker process with a hard deadline, because it may hang and
because its own time-outs are signals that disturb the caller.
"""

import logging
import multiprocessing
import re
from collections.abc import Iterator
from concurrent.futures import TimeoutError as Late
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from pebble import ProcessExpired, ProcessPool

Outcome = Literal["correct", "wrong", "no_answer", "truncated", "grader_error"]
OUTCOMES: tuple[Outcome, ...] = ("correct", "wrong", "no_answer", "truncated", "grader_error")
DEADLINE_S = 10.0
BOX = "\\boxed{"
BRACE = re.compile(r"\\boxed\{|[{}]")
INTEGER = re.compile(r"[+-]?\d{1,18}")


@dataclass(frozen=True)
class Grade:
    """`value` is 1.0 for a correct answer, else 0.0; nothing is dropped, whatever the outcome."""

    value: float
    extracted: str | None
    outcome: Outcome


def last_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` with balanced braces, stripped; None if there is none."""
    opened: list[re.Match[str]] = []
    last = (-1, -1)
    # One pass: a response that only repeats an opened box has thousands of them.
    for brace in BRACE.finditer(text):
        if brace[0] != "}":
            opened.append(brace)
        elif opened and (begin := opened.pop())[0] == BOX:
            last = max(last, (begin.end(), brace.start()))
    return text[slice(*last)].strip() if last[0] >= 0 else None


class Grader:
    """Grades responses; make it with `grader()`, which ends its worker."""

    def __init__(self) -> None:
        self._pool: ProcessPool | None = None

    def grade(self, response: str, gold: str, *, truncated: bool) -> Grade:
        """`truncated`: the response hit the length limit, which is its outcome only if it holds no boxed answer.

        An answer outside a box does not count: a model that never boxes would otherwise score by luck.
        """
        extracted = last_boxed(response)
        if not extracted:
            return Grade(0.0, None, "truncated" if truncated else "no_answer")
        if INTEGER.fullmatch(gold) and INTEGER.fullmatch(extracted):
            correct: bool | None = int(gold) == int(extracted)  # AIME writes 073
        else:
            correct = extracted == gold or self.same(gold, extracted)
        if correct is None:
            return Grade(0.0, extracted, "grader_error")
        return Grade(float(correct), extracted, "correct" if correct else "wrong")

    def same(self, gold: str, answer: str) -> bool | None:
        """Mathematical equality by math-verify; None when it crashed or took longer than the deadline."""
        if self._pool is None:
            # spawn: forking a process that has torch threads can deadlock.
            # The import is the initializer's: on a cold disk it would eat the first answer's deadline.
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPool(max_workers=1, initializer=import_module, initargs=["math_verify"], context=spawn)
        try:
            verdict: bool | None = self._pool.schedule(equal, args=[gold, answer], timeout=DEADLINE_S).result()
        except (Late, ProcessExpired, ValueError, RecursionError, MemoryError):
            return None
        return verdict

    def close(self) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()


@contextmanager
def grader() -> Iterator[Grader]:
    """A grader whose worker process is gone afterwards."""
    one = Grader()
    try:
        yield one
    finally:
        one.close()


def equal(gold: str, answer: str) -> bool | None:
    """Runs in the worker; None when the gold answer itself cannot be parsed.

    Gold comes first: `verify` is not symmetric. Its signal time-outs are off: the pool has the deadline. An answer that
    cannot be parsed equals nothing.
    """
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns at every call that its time-outs are off
    parsed = [parse(f"${text}$", parsing_timeout=None) for text in (gold, answer)]
    return bool(verify(*parsed, timeout_seconds=None)) if parsed[0] else None
