"""The kinds of answers."""

from dataclasses import dataclass
from fractions import Fraction

from tipx.grading.mathematics.expressions import Node
from tipx.grading.mathematics.units import Unit


@dataclass(frozen=True)
class Quantity:
    """A formula and its unit. `digits`: (significant digits, worth of the last) if it is one decimal number."""

    value: Node
    unit: Unit | None = None
    digits: tuple[int, Fraction] | None = None


@dataclass(frozen=True)
class Based:
    """Digits in a base."""

    digits: str
    base: int


@dataclass(frozen=True)
class Clock:
    """A time of day, and "am", "pm" or ""."""

    hour: int
    minute: int
    half: str


@dataclass(frozen=True)
class Ratio:
    """a : b : c."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Words:
    """A text without mathematics, in small letters and digits only."""

    text: str


@dataclass(frozen=True)
class Unread:
    """What is none of these."""


@dataclass(frozen=True)
class Dots:
    """An ellipsis."""


@dataclass(frozen=True)
class Group:
    """Parts within `brackets`; "" for a bare list, "{}" for a set."""

    brackets: str
    parts: tuple["Reading", ...]


@dataclass(frozen=True)
class Union:
    """Of sets, by a sign or by words."""

    parts: tuple["Reading", ...]


@dataclass(frozen=True)
class Named:
    """A value, and the name before its equals sign."""

    name: str
    value: "Reading"


@dataclass(frozen=True)
class Relation:
    """Of two formulas, by "=", "<", "<=" or "!="; greater is turned round."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Matrix:
    """Rows of formulas."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True)
class Either:
    """An answer that may be read in several ways."""

    ways: tuple["Reading", ...]


Reading = Quantity | Based | Clock | Ratio | Words | Unread | Dots | Group | Union | Named | Relation | Matrix | Either
