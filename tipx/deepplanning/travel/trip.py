"""What the user asked for: the `meta_info` of a query."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tipx.errors import DataError

_ASIDE = re.compile(r"[\uff08(].*?[)\uff09]")
_FROM_TO = re.compile(r"from\s+(.+?)\s+to\s+([^,]+)")


@dataclass(frozen=True, slots=True)
class Trip:
    """`weekday` is that of the first day, 1 = Monday; `hard` maps a hard constraint's name to its answer fields."""

    origin: str
    days: int
    weekday: int
    people: int
    rooms: int
    hard: Mapping[str, Mapping[str, Any]]


def read_trip(meta: Mapping[str, Any], where: str) -> Trip:
    """The trip of a query's `meta_info`; raises DataError, which begins with `where`."""
    try:
        hard = {str(name): dict(answer) for name, answer in meta["hard_constraints"].items()}
        trip = Trip(
            origin=city(meta["org"]),
            days=int(meta["days"]),
            weekday=int(meta["depart_weekday"]),
            people=int(meta["people_number"]),
            rooms=int(meta["room_number"]),
            hard=hard,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where}: meta_info lacks or spoils {error}; take the official query file") from error
    if not trip.origin:
        raise DataError(f"{where}: meta_info.org is empty; take the official query file")
    return trip


def city(text: str) -> str:
    """A city's name without what stands in parentheses."""
    return _ASIDE.sub("", text).strip()


def leg(text: str) -> tuple[str, str] | None:
    """Both cities of "from A to B", without asides; None for a day in one city. Chinese plans use the words too."""
    found = _FROM_TO.search(text)
    return (city(found[1]), city(found[2])) if found and found[1].strip() and found[2].strip() else None
