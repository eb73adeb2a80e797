"""Being told to stop: by Ctrl-C (SIGINT), a scheduler or `kill` (SIGTERM), a terminal that closed (SIGHUP).

While a command starts, and where it has nothing to put in order, a signal ends the process at once (`set_at_once`).
While it works, a signal is the exception `Stopped` (`orderly`). In the loop of training the first one is a wish that is
granted after the step (`asked_to_stop`). In the end one line says what is kept, and the exit code is 128 + the signal.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from tipx.errors import Interrupted

ECHO_S = 1.0
"""Signals within so many seconds are one: what a terminal sends to every process, a launcher passes on as well."""
GRACE_S = 3.0
"""Seconds that the main thread has to leave at a second signal; it may be inside a library's long call."""
KEPT = {
    "train": "stopped before this start trained a step; what was saved is kept, and the same command continues",
    "eval": "stopped; the answers so far are kept, and the same command continues",
    "sweep": "stopped; every point is saved, and the same command continues",
    "watch": "stopped watching; the runs go on",
}
"""What a command keeps, as far as is known before it looks."""
ELSE = "stopped before the end; type the same command again"

Handlers = dict[int, Any]


class Stopped(KeyboardInterrupt):
    """A signal asked to stop now."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def set_handlers(act: Callable[[int], None]) -> Handlers:
    """Let `act` answer the signals, and return what did; SIGHUP that is ignored (nohup) stays so.

    A process that is forked from this one does what it would do by itself.
    """
    owner = os.getpid()

    def handler(number: int, _frame: FrameType | None) -> None:
        if os.getpid() == owner:
            act(number)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    deaf = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = [signal.SIGINT, signal.SIGTERM, *([] if deaf else [signal.SIGHUP])]
    return {number: signal.signal(number, handler) for number in numbers}


def restore_handlers(handlers: Handlers) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def stop_line(args: Sequence[str]) -> str:
    """What is said when `tipx ARGS` is stopped and nothing more is known."""
    return KEPT.get(args[0], ELSE) if args else ELSE


def set_at_once(args: Sequence[str]) -> Handlers:
    """From now on a signal ends the process, with the line for `tipx ARGS`.

    Without an exception: libraries that are being imported turn it into others, or drop it.
    """
    return set_handlers(lambda number: leave_process(number, stop_line(args)))


def leave_process(number: int, words: str) -> NoReturn:
    """End the process here and now."""
    if is_main():
        with suppress(OSError):
            os.write(2, f"error: {words}\n".encode())
    os._exit(128 + number)


@contextmanager
def at_once(args: Sequence[str]) -> Iterator[None]:
    """`set_at_once`, for a while."""
    before = set_at_once(args)
    try:
        yield
    finally:
        restore_handlers(before)


def set_over() -> None:
    """From now on the command is over, and the process about to end.

    One of several ignores signals: a launcher tells it to stop because another one has.
    """
    if "RANK" in os.environ:
        for number in set_handlers(lambda _number: None):
            signal.signal(number, signal.SIG_IGN)
    else:
        set_handlers(lambda number: leave_process(number, "stopped when the command was over; nothing is lost"))


def is_main() -> bool:
    """Whether this is the process that speaks, if there are several."""
    return os.environ.get("RANK", "0") == "0"


class orderly:  # noqa: N801 - used as a function
    """While it is open a signal is `Stopped`, which comes out as `Interrupted`, its line that of `command`.

    A library that catches it and raises something else changes nothing, and one in whose clean-up it is dropped gets it
    again.
    """

    def __init__(self, command: str) -> None:
        self.command = command

    def __enter__(self) -> Self:
        def interrupt(number: int) -> None:
            raise Stopped(number)

        def dropped(what: Any) -> None:
            if isinstance(what.exc_value, Stopped):
                again = threading.Timer(0.1, os.kill, (os.getpid(), what.exc_value.number))
                again.daemon = True
                again.start()
            else:
                self.hook(what)

        self.hook, sys.unraisablehook = sys.unraisablehook, dropped
        self.before = set_handlers(interrupt)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        restore_handlers(self.before)
        sys.unraisablehook = self.hook
        if isinstance(error, Interrupted):
            return
        chain = list(error_causes(error))
        if said := next((link for link in chain if isinstance(link, Interrupted)), None):
            raise said from None
        if stop := next((link for link in chain if isinstance(link, Stopped)), None):
            raise Interrupted(stop_line([self.command]), stop.number) from None


def error_causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those it came from, each once: a library may have tied them into a ring."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def asked_to_stop(answer: Callable[[], None], last_words: Callable[[], str]) -> Iterator[Callable[[], int]]:
    """While it is open the first signal sets a number, which is 0 before, and the second one is `Stopped`.

    `answer` is called at once, by another thread: the main one may be in the middle of a long step. If that one does
    not come back from a library's call at the second signal, the process leaves with `last_words`.
    """
    asked: list[tuple[int, float]] = []
    left = threading.Event()

    def note(number: int) -> None:
        if not asked:
            asked.append((number, time.monotonic()))
        elif time.monotonic() - asked[0][1] > ECHO_S:
            raise Stopped(number)

    def listen() -> None:
        first = 0.0
        while byte := os.read(reader, 1):
            now = time.monotonic()
            if byte[0] not in before:
                continue
            if not first:
                first = now
                answer()
            elif now - first > ECHO_S and not left.wait(GRACE_S):
                leave_process(byte[0], last_words())
        os.close(reader)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = set_handlers(note)
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield lambda: asked[0][0] if asked else 0
    finally:
        left.set()
        signal.set_wakeup_fd(woken)
        restore_handlers(before)
        os.close(writer)
        # A thread that is there when Python ends may end the process in its own way.
        listener.join(GRACE_S)
