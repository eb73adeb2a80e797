"""Times of day as plans and tables write them, read as the official scorer reads them.

It reads them in two ways. Slots and business hours are strict: 24:00 is 23:59, and 25:00 is no time. Meals and sights
of a day take any two numbers, so that 24:00 is 24 hours.
"""

import re

DAY = 24 * 60
_TIME = re.compile(r"\s*([0-9]{1,2}):([0-9]{1,2})\s*")


def minute(time: str) -> int | None:
    """Minutes since midnight of a strict "HH:MM"; None if it is none."""
    if time.strip() == "24:00":
        return DAY - 1
    found = _TIME.fullmatch(time)
    if not found or int(found[1]) > 23 or int(found[2]) > 59:
        return None
    return 60 * int(found[1]) + int(found[2])


def span(start: str, end: str) -> tuple[int, int] | None:
    """Both ends of a slot, strict, in minutes; an end before the start is on the next day. None if one is no time."""
    first, last = minute(start), minute(end)
    if first is None or last is None:
        return None
    return first, last + DAY * (last < first)


def loose(time: str) -> int:
    """Minutes since midnight of any "N:N"."""
    hours, minutes = time.split(":")
    return 60 * int(hours) + int(minutes)


def hours(time: str) -> float:
    """Hours since midnight of any "N:N", summed as floats as the official scorer does: its rounding decides ties."""
    whole, minutes = time.split(":")
    return int(whole) + int(minutes) / 60.0


def within(slot: tuple[int, int], opening: int, closing: int) -> bool:
    """Whether a slot, each end in 0..1439, lies in business hours that may cross midnight."""
    start, end = slot
    crosses = end < start
    if opening <= closing:
        return not crosses and opening <= start and end <= closing
    if crosses:
        return start >= opening and end <= closing
    return start >= opening or end <= closing
