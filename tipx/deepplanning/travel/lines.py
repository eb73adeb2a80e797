"""One line of a day: "12:30-16:30 | attraction | Lamp Museum, ¥60/person", and its five sisters.

Fields are taken off the right end while they look like what they should be, since a name may hold a comma. Where a name
may hold the separator itself, the tables know which reading is a name.
"""

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import get_args

from tipx.deepplanning.travel.plan import Activity, Kind

# \uff0c is the full-width comma, \uff5c the full-width bar, \uffe5 the full-width yen sign.
_COMMA = re.compile(r"[,\uff0c]")
_DASH = re.compile(r"\s[-\u2013\u2014]\s")
_BAR = re.compile(r"[|\uff5c]")
_VEHICLE = {
    "flight": ("flight", "airplane", "plane", "飞机", "航班"),
    "train": ("train", "railway", "gaotie", "火车", "高铁", "动车", "列车"),
}
_MODE = re.compile(rf"({'|'.join(word for words in _VEHICLE.values() for word in words)})\s*(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Field:
    """A field that follows a name: `pattern` has the number in whichever group matched; some `words` are zero."""

    pattern: re.Pattern[str]
    words: tuple[str, ...] = ()

    def value(self, text: str) -> float | None:
        """The number in `text`; None if `text` is no such field."""
        if text.lower() in self.words:
            return 0.0
        found = self.pattern.fullmatch(text)
        return float(found[found.lastindex or 0].replace(",", "")) if found else None


_NUMBER = r"([0-9]{1,3}(?:,[0-9]{3}){1,2}(?:\.[0-9]{1,4})?|[0-9]{1,9}(?:\.[0-9]{1,4})?)"
_ABOUT = r"(?:about |~|约)?"
PRICE = Field(
    # "¥60/person", "60 RMB per person", "60"
    re.compile(
        rf"{_ABOUT}(?:[¥\uffe5$]|RMB|CNY)?\s?{_NUMBER}\s?(?:RMB|CNY|yuan|元)?\s?(?:(?:/|\uff0f|per\b|每).{{0,40}})?",
        re.IGNORECASE,
    ),
    ("free", "免费"),
)
DURATION = Field(re.compile(rf"{_ABOUT}{_NUMBER}\s?(?:min|mins|minutes?|分钟)", re.IGNORECASE))
DISTANCE = Field(re.compile(rf"{_ABOUT}{_NUMBER}\s?(?:km|m|meters?|kilometers?|公里|米)", re.IGNORECASE))

Read = Callable[[str, str, str, Container[str]], Activity | None]


def activity(start: str, end: str, text: str, names: Container[str]) -> Activity | None:
    """The activity of a slot, from the text after its bar; None if it cannot be read."""
    kind, *rest = _BAR.split(text.strip(), maxsplit=1)
    read = READERS.get(kind.strip("* `").lower())
    return read(start, end, rest[0].strip() if rest else "", names) if read else None


def peel(text: str, wanted: tuple[Field, ...]) -> tuple[str, dict[Field, float]]:
    """`text` without the fields at its right end, and their numbers; each field at most once."""
    found: dict[Field, float] = {}
    while len(found) < len(wanted):
        hit = last_field(text, [one for one in wanted if one not in found])
        if hit is None:
            break
        cut, one, number = hit
        found[one] = number
        text = text[:cut]
    return text.strip(), found


def last_field(text: str, wanted: list[Field]) -> tuple[int, Field, float] | None:
    """Where the last field of `text` begins, and what it is; the comma of "¥1,200" is none between fields."""
    for comma in reversed([*_COMMA.finditer(text)][-2:]):
        last = text[comma.end() :].strip()
        inside_a_number = re.match(r"[0-9]{3}(?![0-9])", text[comma.end() :]) and text[: comma.start()][-1:].isdigit()
        for one in wanted:
            number = None if inside_a_number else one.value(last)
            if number is not None:
                return comma.start(), one, number
        if not inside_a_number:
            return None
    return None


def journey(text: str, names: Container[str]) -> tuple[str, str] | None:
    """Both ends of "A - B"; names that hold " - " are told apart by the tables, else the last dash divides."""
    cuts = [(text[: dash.start()].strip(), text[dash.end() :].strip()) for dash in _DASH.finditer(text)]
    cuts = [cut for cut in cuts if all(cut)]
    # The best is the last among those with the most known names.
    return max(reversed(cuts), key=lambda cut: (cut[0] in names) + (cut[1] in names), default=None)


def intercity(start: str, end: str, text: str, names: Container[str]) -> Activity | None:
    """As in "flight QV120, A - B, ¥650/person"."""
    head, *rest = _COMMA.split(text, maxsplit=1)
    vehicle = _MODE.fullmatch(head)
    if not vehicle or not rest:
        return None
    route, found = peel(rest[0], (PRICE,))
    ends = journey(route, names)
    if ends is None:
        return None
    mode = next(mode for mode, words in _VEHICLE.items() if vehicle[1].lower() in words)
    return Activity(
        kind="travel_intercity_public",
        start=start,
        end=end,
        mode=mode,
        number=vehicle[2].strip(),
        origin=ends[0],
        destination=ends[1],
        cost=found.get(PRICE),
    )


def in_city(start: str, end: str, text: str, names: Container[str]) -> Activity | None:
    """As in "A - B, 3.2km, 9min, ¥18"."""
    route, found = peel(text, (PRICE, DURATION, DISTANCE))
    ends = journey(route, names)
    if ends is None:
        return None
    return Activity(
        kind="travel_city", start=start, end=end, origin=ends[0], destination=ends[1], cost=found.get(PRICE)
    )


def attraction(start: str, end: str, text: str, names: Container[str]) -> Activity | None:
    """As in "Lamp Museum, ¥60/person"."""
    name, price = priced(text, names)
    return Activity(kind="attraction", start=start, end=end, name=name, cost=price) if name else None


def meal(start: str, end: str, text: str, names: Container[str]) -> Activity | None:
    """As in "Lunch, Salt, Smoke & Thyme, ¥80/person"."""
    rest, price = priced(text, names)
    note, name = noted(rest, names)
    return Activity(kind="meal", start=start, end=end, name=name, note=note, cost=price) if name else None


def hotel(start: str, end: str, text: str, names: Container[str]) -> Activity | None:
    """As in "Check-in, Larkspur Inn"."""
    rest, _ = priced(text, names)
    note, name = noted(rest, names)
    return Activity(kind="hotel", start=start, end=end, name=name, note=note) if rest else None


def buffer(start: str, end: str, text: str, names: Container[str]) -> Activity | None:
    return Activity(kind="buffer", start=start, end=end, note=text)


def priced(text: str, names: Container[str]) -> tuple[str, float | None]:
    """A name and the price after it, None if there is none; a text that is itself a name has none."""
    name, found = (text, {}) if text in names else peel(text, (PRICE,))
    return name, found.get(PRICE)


def noted(text: str, names: Container[str]) -> tuple[str, str]:
    """The note before the first comma, and the name after it; a text that is itself a name has no note."""
    note, *rest = _COMMA.split(text, maxsplit=1)
    return ("", text) if text in names or not rest else (note.strip(), rest[0].strip())


READERS: dict[str, Read] = dict(zip(get_args(Kind), (intercity, in_city, attraction, meal, hotel, buffer), strict=True))
