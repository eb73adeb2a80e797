"""Time feasibility: nothing overlaps, and between two places there is the time that the road takes."""

import math
import re
from itertools import pairwise

from tipx.deepplanning.travel.clock import DAY
from tipx.deepplanning.travel.database import Database
from tipx.deepplanning.travel.plan import INTERCITY, Activity, Day, TravelPlan
from tipx.deepplanning.travel.trip import Trip

ANCHORS = ("hotel", "attraction", "meal", INTERCITY)
"""Activities that are somewhere; what lies between them is the way, and buffers."""
_COORDINATES = re.compile(r"\s*([-0-9.]+)\s*,\s*([-0-9.]+)\s*")
Span = tuple[int, int]


def no_time_overlaps(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    """Of the slots of a day in order of their start, none begins before the one ahead has ended."""
    for day in plan.days:
        spans = sorted((a.span for a in day.activities if a.span), key=lambda span: span[0])
        if any(after[0] < before[1] for before, after in pairwise(spans)):
            return False
    return True


def reasonable_transfer_time(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    """The gap between two anchors, without buffers, is what the road takes, give or take five to ten minutes.

    A pair that the tables do not know passes: a place that nobody has heard of costs nothing here.
    """
    return all(fits(pair, buffers, db) for day in plan.days for buffers in [spans(day)] for pair in pairs(day))


def spans(day: Day) -> list[Span]:
    """The buffers of a day."""
    return [span for span in (buffer.span for buffer in day.of("buffer")) if span]


def pairs(day: Day) -> list[tuple[Activity, Activity]]:
    return list(pairwise(a for a in day.activities if a.kind in ANCHORS and a.span))


def fits(pair: tuple[Activity, Activity], buffers: list[Span], db: Database) -> bool:
    before, after = pair
    origin = (before.destination if before.kind == INTERCITY else before.name) or before.kind
    destination = (after.origin if after.kind == INTERCITY else after.name) or after.kind
    road = None if origin == destination else road_minutes(origin, destination, db)
    gap = free_minutes(before.span or (0, 0), after.span or (0, 0), buffers) if road is not None else None
    if gap is None or road is None:
        return True
    least = min(max(0.0, road - 5), road // 10 * 10)
    most = max(road + 5, math.ceil(road / 10) * 10)
    return least <= gap <= most


def free_minutes(before: Span, after: Span, buffers: list[Span]) -> int | None:
    """Minutes between two slots without the buffers there; None if they overlap, which is another check's business."""
    end, start = before[1], after[0]
    if end > start:
        if end - start <= 12 * 60:
            return None
        start += DAY  # the second is on the next day
        if start < end:
            return None
    late = [after_midnight(span, end) for span in buffers]
    return start - end - sum(last - first for first, last in late if first >= end and last <= start)


def after_midnight(span: Span, end: int) -> Span:
    """A buffer that begins before `end` is taken for one on the next day."""
    return (span[0] + DAY, span[1] + DAY) if span[0] < end else span


def road_minutes(origin: str, destination: str, db: Database) -> float | None:
    """By the tables, from name to name; None if a place or the way is not in them."""
    ends = [coordinates(name, db) for name in (origin, destination)]
    row = db.route.get((ends[0] or "", ends[1] or ""))
    try:
        return float(row["duration_minutes"]) if row else None
    except ValueError:
        return None


def coordinates(name: str, db: Database) -> str | None:
    """The text "lat,lon" of a place in the tables, or of a name that is itself a pair of numbers."""
    found = db.place.get(name)
    try:
        if found and all(found):
            _ = [float(part) for part in found]
            return ",".join(found)
        pair = _COORDINATES.fullmatch(name)
        return f"{float(pair[1])},{float(pair[2])}" if pair else None
    except ValueError:
        return None
