"""The errors a user may meet. Each is one line that says what was expected, what came, and what to type next.

The command line prints the line and leaves with `exit_code`; anything that is not a `TipxError` is a bug and shows its
traceback.
"""

import signal


class TipxError(Exception):
    """Root of the errors that are shown as one line."""

    exit_code = 2


class ConfigError(TipxError):
    """The composed configuration cannot be used: unknown key or choice, wrong type, value out of range."""


class ModelError(TipxError):
    """A model or tokenizer cannot be loaded, or teacher and student do not fit together."""


class DataError(TipxError):
    """A training set or benchmark is missing, empty, or laid out in an unknown way."""


class RunError(TipxError):
    """A run directory or checkpoint cannot be found, read or written."""


class Damaged(RunError):
    """A file of a run, a result or a sweep is not as tipx wrote it."""


class ReportError(TipxError):
    """A report cannot be made: an unknown name, runs that differ in more than they should, a missing cell."""


class RunFailed(TipxError):
    """A run that began well cannot go on (diverged, disk full): not a mistake in the command."""

    exit_code = 1


class OutputError(TipxError):
    """What a command is there to print cannot be written."""

    exit_code = 1


class Interrupted(TipxError):
    """A signal asked to stop; the line says what is kept. The exit code is 130 for Ctrl-C, 143 for SIGTERM."""

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.exit_code = 128 + number
