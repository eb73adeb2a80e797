"""From a model's last answer to a plan, by rules alone: no judge model, no network.

The official pipeline lets a large model convert the plan to JSON, and that model forgives slips of format. Rules do
not, so a result says `PLAN_PARSE`, and how many lines could not be read. All is linear in the text: an answer of ten
megabytes is read in seconds.
"""

import re
from collections.abc import Container
from dataclasses import dataclass, field

from tipx.deepplanning.travel.lines import activity, priced
from tipx.deepplanning.travel.plan import Activity, Day, Stay, TravelPlan

PLAN_PARSE = "rules"
LONGEST_LINE = 2_000
"""Characters; a longer line is not read: patterns are tried on short lines only."""
MOST_LINES = 2_000
"""Lines of a plan that are read; a week has about a hundred."""
LONGEST_CITY = 200
"""Characters of a "Current City"."""

_TAG = re.compile(r"<(/?)plan>", re.IGNORECASE)
_THOUGHT = re.compile(r"</think>", re.IGNORECASE)
_DAY = re.compile(r"(?:day\s*([0-9]{1,4})\b|第\s*([0-9]{1,4})\s*天)", re.IGNORECASE)
# \uff1a is the full-width colon of Chinese plans; bold may end before it.
_CITY = re.compile(r"(?:current city|当前城市)[*_\s]*[:\uff1a]", re.IGNORECASE)
_STAY = re.compile(r"(?:accommodation|住宿)[*_\s]*[:\uff1a]", re.IGNORECASE)
_BUDGET = re.compile(r"budget summary|预算总结|(?P<total>total estimated budget|总估算预算|总预算)", re.IGNORECASE)
_BAR = re.compile(r"[|\uff5c]")
_TIME = re.compile(r"[0-9]{1,2}[:\uff1a][0-9]{2}(?![0-9])")
_SLOT = re.compile(r"([0-9]{1,2}:[0-9]{2})\s*[-\u2013~]\s*([0-9]{1,2}:[0-9]{2})[*_\s]*[|\uff5c]")
_AMOUNT = re.compile(r"[0-9][0-9,]{0,12}(?:\.[0-9]{1,4})?")
_MARKUP = "*#_`> \t"
_BULLET = "-\u2022 "
_NOWHERE = {"", "-", "\u2013", "\u2014", "none", "n/a", "无"}


@dataclass(frozen=True, slots=True)
class Parsed:
    """What an answer holds: `plan` is None if it holds no plan; `failures` counts lines that could not be read."""

    plan: TravelPlan | None
    failures: int = 0


@dataclass(slots=True)
class Draft:
    """A day that is being read. What heads it may be a sum ("Day 1 total: ¥500") if it is not `sure`."""

    sure: bool
    city: str = ""
    stay: Stay | None = None
    activities: list[Activity] = field(default_factory=list)

    @property
    def real(self) -> bool:
        return self.sure or bool(self.city or self.activities)

    def day(self) -> Day:
        return Day(self.city, self.stay, tuple(self.activities))


def parse(answer: str, names: Container[str]) -> Parsed:
    """The plan of an answer; `names` are those the tables know, which decide where a name ends."""
    block = plan_block(answer)
    return Parsed(None) if block is None else parse_block(block, names)


def plan_block(answer: str) -> str | None:
    """The text of all closed <plan> blocks after the last </think>, joined; None where all are empty."""
    thoughts = [found.end() for found in _THOUGHT.finditer(answer)]
    blocks, start = [], None
    for tag in _TAG.finditer(answer, thoughts[-1] if thoughts else 0):
        if not tag[1] and start is None:
            start = tag.end()
        elif tag[1] and start is not None:
            blocks.append(answer[start : tag.start()].strip())
            start = None
    return "\n\n".join(block for block in blocks if block) or None


def parse_block(block: str, names: Container[str]) -> Parsed:
    """The plan in the line format; lines that are neither a head nor an activity are prose, and are passed over."""
    lines = [line for line in block.splitlines() if line.strip()]
    days: list[Draft] = []
    heads = set[int]()
    day = total = None
    summed = False
    failures = max(len(lines) - MOST_LINES, 0)
    for line in (line.strip(_MARKUP).lstrip(_MARKUP + _BULLET) for line in lines[:MOST_LINES]):
        if len(line) > LONGEST_LINE:
            failures += 1
        elif head := _DAY.match(line):
            number = int(head[1] or head[2])
            days.append(day := Draft(sure=not summed and number not in heads))
            heads.add(number)
        elif _SLOT.match(line) or not (found := _BUDGET.search(line)):
            failures += not read(line, day, names)
        else:
            # What follows the summary's head belongs to no day: it has a line "Accommodation" of its own.
            day, summed = None, True
            total = amount(line[found.end() :]) if found["total"] else total
    return Parsed(TravelPlan(tuple(draft.day() for draft in days if draft.real), total), failures)


def read(line: str, day: Draft | None, names: Container[str]) -> bool:
    """Put what the line says into its day; False for a line that looks like an activity and cannot be read."""
    if found := _SLOT.match(line):
        what = activity(found[1], found[2], line[found.end() :], names)
        if what is None or day is None:
            return False
        day.activities.append(what)
    elif day is not None and (found := _CITY.match(line)):
        city = " ".join(line[found.end() :].strip(_MARKUP).split())
        if len(city) > LONGEST_CITY:
            return False
        day.city = city
    elif day is not None and (found := _STAY.match(line)):
        day.stay = stay(line[found.end() :].strip(_MARKUP), names)
    else:
        return not (_TIME.match(line) or _BAR.search(line))
    return True


def stay(text: str, names: Container[str]) -> Stay | None:
    if text.lower() in _NOWHERE:
        return None
    return Stay(*priced(text, names))


def amount(text: str) -> float | None:
    """The number that a sum comes to: the first one, or that after the last "=" where the first is a summand."""
    found = _AMOUNT.search(text)
    if found and text[found.end() :].lstrip()[:1] in ("+", "*") and "=" in text:
        found = _AMOUNT.search(text, text.rindex("=")) or found
    return float(found[0].replace(",", "")) if found else None
