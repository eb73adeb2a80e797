"""What a stranger's file may take of this process, and how what a library says of it is told.

A model folder is data: whoever wrote it chose every byte. Libraries raise nearly any class of error on a broken one.
"""

import resource
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType

from huggingface_hub.errors import StrictDataclassError
from jinja2 import TemplateError
from safetensors import SafetensorError

RAISED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    NameError,
    SyntaxError,
    MemoryError,
    EOFError,
    ImportError,
    BufferError,
    struct.error,
    UnpicklingError,
    SafetensorError,
    StrictDataclassError,
    TemplateError,
)
"""What transformers, tokenizers, torch, safetensors and jinja raise where they read what is broken."""
PLAIN = (OSError, ValueError, ImportError, SafetensorError, StrictDataclassError, TemplateError)
"""Those whose text says enough without the name of their class."""
LONGEST = 300
"""Characters of a library's text that are shown."""
TICK_S = 0.2
"""Between two signals to something that is overdue: one that falls into a destructor is lost."""


class Overdue(RuntimeError):
    """Something of a stranger's took too long."""


def error_text(error: BaseException) -> str:
    """One line of printable text: a library may quote the file, and a file may hold anything."""
    # transformers adds advice in further lines; the others say half of it in them.
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines) if isinstance(error, TemplateError | StrictDataclassError) else next(iter(lines), "")
    if isinstance(error, UnpicklingError):  # torch's own text says how to run it all the same
        return "a pickle that is broken or holds more than weights; nothing of it was run"
    if type(error) is Exception or isinstance(error, PLAIN):
        return printable_text(text) or type(error).__name__
    return f"{type(error).__name__}: {printable_text(text)}" if text else type(error).__name__


def printable_text(text: str) -> str:
    """Without control characters and halves of surrogate pairs, which are written as escapes; not too long."""
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)


def is_foreign(error: BaseException) -> bool:
    """Whether it is of a class that libraries raise on broken files: tokenizers raises `Exception` itself."""
    return isinstance(error, RAISED) or type(error) is Exception


def brings_code(made: object) -> bool:
    """Whether a model or configuration is made by Python of its own folder, which then was allowed to run."""
    return any(kind.__module__.startswith("transformers_modules.") for kind in type(made).__mro__)


@contextmanager
def bounded_resources(seconds: float, memory: int) -> Iterator[None]:
    """Raises Overdue after `seconds` of processor time, and MemoryError where `memory` more bytes are asked for.

    For work in Python, which can take an error anywhere. Memory is bounded where the system knows such a limit (Linux),
    for the whole process. So in another thread than the main one nothing is bounded: a student that is trained
    meanwhile would run into the bound, and a timer's signal would not reach the thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with ExitStack() as stack:
        stack.callback(limit_memory(memory))
        stack.callback(start_timer(seconds))
        yield


def limit_memory(memory: int) -> Callable[[], None]:
    """Lets the process take `memory` more bytes; returns what takes the limit back."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = Path("/proc/self/statm")
    if not pages.exists():
        return lambda: None
    wanted = int(pages.read_text().split()[0]) * resource.getpagesize() + memory
    least = min(limit for limit in (wanted, *before) if limit != resource.RLIM_INFINITY)
    with suppress(ValueError, OSError):  # where the system refuses
        resource.setrlimit(resource.RLIMIT_AS, (least, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_AS, before)


def start_timer(seconds: float) -> Callable[[], None]:
    """Raises Overdue in the main thread after so much processor time; returns what stops it."""

    def overdue(_number: int, _frame: FrameType | None) -> None:
        raise Overdue(f"it takes more than {seconds:g} seconds")

    # Of the three timers the one that neither pytest, nor the grader, nor a launcher takes for itself.
    handler = signal.signal(signal.SIGVTALRM, overdue)
    timer = signal.setitimer(signal.ITIMER_VIRTUAL, seconds, TICK_S)

    def stop() -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, *timer)
        signal.signal(signal.SIGVTALRM, handler)

    return stop
