"""Is an answer right? One path for every benchmark: the answer's text, then equality of mathematics.

No torch here. Mathematics is compared in worker processes that are killed at a deadline: some answers are made to hang.
"""

import multiprocessing
import os
import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from tipx.grading.answers import extract_answer, same_text
from tipx.grading.mathematics.equality import TAKEN, VERSION, same

Outcome = Literal["correct", "wrong", "no_answer", "truncated", "grader_error"]
OUTCOMES: tuple[Outcome, ...] = ("correct", "wrong", "no_answer", "truncated", "grader_error")
DEADLINE_S = 5.0
"""Processor time for one answer: on a busy machine an answer gets no other grade."""
HANG_S = 120.0
"""Time by the clock for one answer, for a worker that waits and does not work."""
MEMORY = 2 << 30
"""Bytes that a worker may have: a huge power is refused before it takes the machine's memory."""
TASKS = 5_000
"""Answers after which a worker is replaced: caches grow."""
MOST_WORKERS = 4
CACHE = 100_000
"""Verdicts kept: sixteen samples of one problem often give one answer."""

Pair = tuple[str, str]


class Answer(NamedTuple):
    """A response, the gold answer, whether the response hit the length limit, and what it follows.

    The texts hold the marks of reasoning, also where those are special tokens. Of `prompt` the end is enough; "" is one
    that opens no reasoning.
    """

    response: str
    gold: str
    truncated: bool
    prompt: str = ""


@dataclass(frozen=True)
class Grade:
    """`value` is 1.0 for a correct answer, else 0.0; nothing is dropped, whatever the outcome."""

    value: float
    extracted: str | None
    outcome: Outcome


@dataclass
class Grader:
    """Grades responses; make it with `grader()`, which ends its workers."""

    pool: ProcessPool | None = None
    known: dict[Pair, bool | None] = field(default_factory=dict)

    def grade(self, response: str, gold: str, *, truncated: bool, prompt: str = "") -> Grade:
        """One response; see `grade_all`."""
        return self.grade_all([Answer(response, gold, truncated, prompt)])[0]

    def grade_all(self, answers: Sequence[Answer]) -> list[Grade]:
        """Each response's grade, in order; equal pairs of gold and answer are compared once.

        An answer outside a box, or only inside the reasoning, does not count: a model that never boxes would otherwise
        score by luck. `truncated` is the outcome of a cut response only if it holds no boxed answer.
        """
        extracted = [extract_answer(answer.response, answer.prompt) for answer in answers]
        pairs = [(answer.gold, found) for answer, found in zip(answers, extracted, strict=True) if found is not None]
        verdicts = self.same_text(pairs)
        return [
            no_answer(answer) if found is None else grade_in_time(found, verdicts[answer.gold, found])
            for answer, found in zip(answers, extracted, strict=True)
        ]

    def same_text(self, pairs: Sequence[Pair]) -> dict[Pair, bool | None]:
        """For each (gold, answer): are they equal? None when a worker hung or died, or the gold cannot be read."""
        found = {pair: same_text(*pair) for pair in pairs}
        open_pairs = [pair for pair, verdict in found.items() if verdict is None]
        new = [pair for pair in open_pairs if pair not in self.known]
        if len(self.known) + len(new) > CACHE:
            self.known.clear()
            new = open_pairs
        self.known.update(zip(new, self._compare(new), strict=True))
        return found | {pair: self.known[pair] for pair in open_pairs}

    def _compare(self, pairs: Sequence[Pair]) -> list[bool | None]:
        if not pairs:
            return []
        if self.pool is None:
            # spawn: forking a process that has torch threads can deadlock.
            context = multiprocessing.get_context("spawn")
            # Only Linux says how many processors this process may use.
            there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            workers = min(MOST_WORKERS, there)
            self.pool = ProcessPool(max_workers=workers, max_tasks=TASKS, initializer=prepare, context=context)
        futures = [self._ask(pair) for pair in pairs]
        # The system kills what takes the machine's memory, and that may not be this answer's fault: one more try.
        again = {i: self._ask(pairs[i]) for i, future in enumerate(futures) if was_killed(future.exception())}
        futures = [again.get(i, future) for i, future in enumerate(futures)]
        # Whatever a worker raised or died of is one outcome, counted in the result: the grader could not judge.
        return [None if future.exception() else future.result() for future in futures]

    def _ask(self, pair: Pair) -> ProcessFuture[Any]:
        if self.pool is None:
            raise RuntimeError("the grader has no workers")
        return self.pool.schedule(answers_equal, args=[*pair, DEADLINE_S], timeout=HANG_S)

    def close(self) -> None:
        if self.pool is not None:
            self.pool.stop()
            self.pool.join()


def no_answer(answer: Answer) -> Grade:
    return Grade(0.0, None, "truncated" if answer.truncated else "no_answer")


def grade_in_time(extracted: str, verdict: bool | None) -> Grade:  # noqa: FBT001 - a verdict is the whole argument
    if verdict is None:
        return Grade(0.0, extracted, "grader_error")
    return Grade(float(verdict), extracted, "correct" if verdict else "wrong")


@contextmanager
def start_grader() -> Iterator[Grader]:
    """A grader whose worker processes are gone afterwards."""
    one = Grader()
    try:
        yield one
    finally:
        one.close()


def was_killed(error: BaseException | None) -> bool:
    """Whether a worker died of something else than its own deadline."""
    return isinstance(error, ProcessExpired) and error.exitcode != -signal.SIGPROF


def read_both() -> dict[str, Any]:
    """What a result records of its grader: results of two versions say nothing about the models."""
    return {"version": VERSION, "readings": TAKEN}


def prepare() -> None:
    """In a new worker: bound the memory, and leave the group."""
    os.setsid()  # what ends a group of processes is not for it: an answer it was at would count as one it cannot judge
    with suppress(ValueError, OSError):  # where the system knows no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def answers_equal(gold: str, answer: str, seconds: float) -> bool | None:
    """Runs in a worker; None when the gold answer itself cannot be read.

    The system ends the worker when its processor time is over, whatever it is doing.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return same(gold, answer)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
