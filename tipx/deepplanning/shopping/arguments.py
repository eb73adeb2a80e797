"""What a model wrote as a tool's arguments, read with care: whatever it is, the tool answers.

Two leniencies are the benchmark's own and change results, so they are kept: a text where a list is wanted is the list
of its letters (`"sizes": "M"` works, `"sizes": "XL"` means X or L), and a quantity is cut to a whole number (0.5 is 0,
true is 1).
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any

LONGEST = 10_000
"""Characters of a text, entries of a list: more is refused, since a search takes time for each word."""
LARGEST = 10**9


class ToolError(Exception):
    """What a tool answers instead of a result: never leaves `ShoppingEnvironment.call`."""

    def __init__(self, message: str, **more: None) -> None:
        super().__init__(message)
        self.answer: dict[str, Any] = {"error": message, **more}


Arguments = Mapping[str, Any]


def shown(value: object) -> str:
    """For a message: short, and safe for what is nested too deep to be printed."""
    if isinstance(value, int | float) and -LARGEST <= value <= LARGEST:
        return repr(value)
    if not isinstance(value, str):
        return f"a value of type {type(value).__name__}"
    return repr(value if len(value) <= 80 else value[:80] + "...")


def text(arguments: Arguments, key: str, *, default: str = "") -> str:
    """A text; the default if it is left out. Raises ToolError."""
    value = arguments.get(key, default)
    if not isinstance(value, str):
        raise ToolError(f"{key}: expected a text, got {shown(value)}")
    return short(value, key)


def given(arguments: Arguments, key: str) -> str:
    """A text that must be there. Raises ToolError."""
    if not (value := text(arguments, key)):
        raise ToolError(f"{key}: expected a text, got nothing")
    return value


def optional(arguments: Arguments, key: str) -> str:
    """A text, or "" where it is left out or null. Raises ToolError."""
    return text(arguments, key) if arguments.get(key) else ""


def short(value: str, key: str) -> str:
    if len(value) > LONGEST:
        raise ToolError(f"{key}: expected at most {LONGEST} characters, got {len(value)}")
    return value


def strings(arguments: Arguments, key: str) -> list[str]:
    """A list of texts that must be there, maybe empty. Raises ToolError."""
    value = arguments.get(key)
    if not isinstance(value, list | tuple | str):
        raise ToolError(f"{key}: expected a list of texts, got {shown(value)}")
    if len(value) > LONGEST:
        raise ToolError(f"{key}: expected at most {LONGEST} entries, got {len(value)}")
    for entry in value:
        if not isinstance(entry, str):
            raise ToolError(f"{key}: expected a list of texts, got {shown(entry)} among them")
    return [short(entry, key) for entry in value]


def identifiers(arguments: Arguments) -> list[str]:
    """`product_ids`; [] where they are left out or null, which means all products. Raises ToolError."""
    return strings(arguments, "product_ids") if arguments.get("product_ids") else []


def quantity(arguments: Arguments) -> int:
    """1 if it is left out. Raises ToolError."""
    value = arguments.get("quantity", 1)
    if not isinstance(value, int | float) or not value > 0:
        raise ToolError(f"quantity: expected a number above 0, got {shown(value)}")
    if value > LARGEST or not isfinite(value):
        raise ToolError(f"quantity: expected at most {LARGEST}")
    return int(value)


def number(value: object) -> float | None:
    """What can be read as a number, a text such as "4.5" included; None for what cannot."""
    if not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError as error:
        raise ToolError("value: too large") from error
