"""Standard output and error: the one place where consoles are made.

Runs, rollouts and models are sent around: what is printed of them can neither command the terminal nor style itself.
And a display that breaks (a closed pipe, a full disk, a terminal that is gone) stops no work.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from tipx.errors import OutputError

COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls but for the end of a line and the tab, marks that turn the direction of text, and halves of characters."""
UNBOUNDED = 100_000
"""Characters of a line in a pipe or a file."""
READER_GONE = 141
"""Exit code of a command whose reader has left, as that of `ls | true`: 128 + SIGPIPE."""


def clean_text(text: str) -> str:
    """`text` with one sign in place of each character that would command the terminal: ␛ for escape."""
    return COMMANDS.sub(lambda found: control_sign(ord(found[0])), text)


def escape_text(text: str) -> str:
    r"""The same with `\u001B` for escape, as texts in double quotes have it in JSON and YAML: it is read as it was."""
    return COMMANDS.sub(lambda match: f"\\u{ord(match[0]):04X}", text)


def control_sign(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


class Console(RichConsole):
    """A console that shows strings as they are, and no control character but its own.

    It breaks no word: a text with one that is longer than a line goes out as it is, and only the terminal folds it.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        words = (word for one in objects if isinstance(one, str | Text) for word in str(one).split())
        if any(cell_len(word) > self.width for word in words):
            options["soft_wrap"] = True
        super().print(*objects, **{"crop": False} | options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            hostile = segment.control is None and COMMANDS.search(segment.text)
            yield Segment(clean_text(segment.text), segment.style) if hostile else segment


def console(*, stderr: bool = False, **options: Any) -> Console:
    """For standard output or error; `options` are rich's. Strings hold no markup: style is for Text.

    A pipe and a file have no width: lines are as long as they are, as those of `git` and `kubectl`, so that `grep`
    finds a row whole. A width in COLUMNS is the user's word, and counts there too.
    """
    file: Any = sys.stderr if stderr else sys.stdout
    guarded: Any = file if isinstance(file, Stream) else Stream(file)
    if not guarded.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        options.setdefault("width", UNBOUNDED)
    return Console(file=guarded, markup=False, emoji=False, **options)


def print_text(text: str) -> None:
    """To standard output, as it is but for control characters: for what a program reads."""
    file = sys.stdout if isinstance(sys.stdout, Stream) else Stream(sys.stdout)
    file.write(clean_text(text))
    file.flush()


class Stream:
    """A file that is written to until it cannot be; the rest goes nowhere.

    If it is `needed`, that ends the command: quietly where the reader left (`| head`), with OutputError otherwise.
    """

    def __init__(self, file: TextIO | None, *, needed: bool = False) -> None:
        self.file, self.needed, self.broken = file, needed, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def isatty(self) -> bool:
        return self.file is not None and not self.broken and self.file.isatty()

    def write(self, text: str) -> int:
        if self.broken:
            return len(text)
        if self.file is None:
            self._let_go(OSError("it is closed"))
            return len(text)
        try:
            self.file.write(text)
        except UnicodeEncodeError as error:
            return self.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except (OSError, ValueError) as error:
            self._let_go(error)
        return len(text)

    def flush(self) -> None:
        if self.broken or self.file is None:
            return
        try:
            self.file.flush()
        except (OSError, ValueError) as error:
            self._let_go(error)

    def _let_go(self, error: OSError | ValueError) -> None:
        """Python writes what is left when it ends: by then nothing may be in the way."""
        self.broken = True
        try:
            there = -1 if self.file is None else self.file.fileno()
        except (OSError, ValueError):
            there = -1
        if there >= 0:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, there)
            os.close(null)
        if self.needed and isinstance(error, BrokenPipeError):
            sys.exit(READER_GONE)
        if self.needed:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"cannot write to standard output: {reason}; send it elsewhere") from error


@contextmanager
def guard_streams(*, needed: bool) -> Iterator[None]:
    """While it is open, whoever writes to standard output and error writes to a `Stream`; `needed` is the former."""
    occupy_streams()
    before = sys.stdout, sys.stderr
    out, err = Stream(sys.stdout, needed=needed), Stream(sys.stderr)
    sys.stdout, sys.stderr = out, err
    try:
        yield
        out.flush()
    finally:
        out.needed = False
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def occupy_streams() -> None:
    """Open what is closed of the three standard descriptors: a file of the run would get the number, and their text."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            lowest = os.open(os.devnull, os.O_RDWR)  # the system gives the lowest number that is free
            os.set_inheritable(lowest, True)  # noqa: FBT003 - it takes no name
