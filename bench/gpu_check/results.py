"""What sections find: checks that pass or fail, and tables of what was measured."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import torch

from tipx.files.atomic import write_text

Cell = str | float | int | None
"""Of a table. None is what was not measured."""
Status = Literal["passed", "failed", "stopped", "skipped"]
"""stopped: it raised, or was ended, and so some checks were not made. It counts as failed."""


@dataclass(frozen=True)
class Check:
    """A number and the bound that it must not exceed. A number that is none does not pass."""

    name: str
    value: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.value <= self.bound

    def line(self) -> str:
        """For a list of failures."""
        return f"{self.name}: {self.value:.3g}, bound {self.bound:.3g}"


@dataclass
class Section:
    """What one section found. `why` says in one line what stopped it, or why it was not run."""

    name: str
    status: Status = "stopped"
    why: str = "it did not end"
    seconds: float = 0.0
    device: str = ""
    """Its name, as the section's process saw it."""
    checks: list[Check] = field(default_factory=list)
    tables: dict[str, list[dict[str, Cell]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """What there was no time for, or no memory."""

    @property
    def failures(self) -> list[str]:
        """A line for each check that failed, and one for what stopped it."""
        lines = [check.line() for check in self.checks if not check.passed]
        return [*lines, self.why] if self.status == "stopped" else lines

    def close(self) -> None:
        """All of it was run: it passed if every check did."""
        failed = sum(not check.passed for check in self.checks)
        self.status, self.why = (
            ("failed", f"{failed} of {len(self.checks)} checks failed") if failed else ("passed", "")
        )

    @classmethod
    def read(cls, file: Path) -> "Section":
        """As `Work.save` wrote it."""
        tree: dict[str, Any] = json.loads(file.read_text())
        return cls(**tree | {"checks": [Check(**check) for check in tree["checks"]]})


@dataclass(frozen=True)
class Work:
    """What a section is given to work with, and where it puts what it finds.

    It is saved as it goes, so that a section that is stopped leaves what it had. `deadline` is a reading of
    `monotonic`. `speak` is told how far it is.
    """

    device: torch.device
    small: bool
    deadline: float
    file: Path
    section: Section
    speak: Callable[[str], None] = lambda _: None

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - monotonic()

    def has_time(self, seconds: float, what: str) -> bool:
        """Whether there is time for what may take so long. Where not, the report says that it was left out."""
        if self.left >= seconds:
            return True
        self.leave_out(f"{what} (no time)")
        return False

    def leave_out(self, what: str) -> None:
        self.section.left_out.append(what)
        self.save()

    def check(self, name: str, value: float, bound: float) -> None:
        """The value must not exceed the bound."""
        self.section.checks.append(Check(name, float(value), bound))

    def row(self, table: str, **cells: Cell) -> None:
        """One line of a table. A cell `s` is seconds of work, which the report also gives in units of this device."""
        self.section.tables.setdefault(table, []).append(cells)
        self.save()

    def note(self, text: str) -> None:
        self.section.notes.append(text)
        self.save()

    def say(self, text: str) -> None:
        """What comes next."""
        self.save()
        self.speak(text)

    def save(self) -> None:
        write_text(self.file, json.dumps(asdict(self.section), indent=1))
