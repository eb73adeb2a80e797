"""A travel plan as values: days, where one sleeps, and what one does from when to when."""

from dataclasses import dataclass
from typing import Any, Literal

from tipx.deepplanning.travel.clock import span

Kind = Literal["travel_intercity_public", "travel_city", "attraction", "meal", "hotel", "buffer"]
INTERCITY: Kind = "travel_intercity_public"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One line of a day; which fields are used depends on `kind`. `cost` is None where the line gives no price."""

    kind: Kind
    start: str
    end: str
    name: str = ""  # of an attraction, a restaurant or a hotel
    origin: str = ""  # of a journey, as its destination
    destination: str = ""
    mode: str = ""  # "flight" or "train"
    number: str = ""
    cost: float | None = None
    note: str = ""

    @property
    def span(self) -> tuple[int, int] | None:
        return span(self.start, self.end)


@dataclass(frozen=True, slots=True)
class Stay:
    """The hotel in a day's head; `price` is for one room and one night."""

    name: str
    price: float | None


@dataclass(frozen=True, slots=True)
class Day:
    """`city` is the text after "Current City:"; `stay` is None for "-" and where the line is missing."""

    city: str = ""
    stay: Stay | None = None
    activities: tuple[Activity, ...] = ()

    def of(self, kind: Kind) -> list[Activity]:
        return [activity for activity in self.activities if activity.kind == kind]


@dataclass(frozen=True, slots=True)
class TravelPlan:
    """`total` is the total estimated budget, None where the plan gives none."""

    days: tuple[Day, ...]
    total: float | None = None

    def of(self, kind: Kind) -> list[Activity]:
        return [activity for day in self.days for activity in day.of(kind)]


def as_json(plan: TravelPlan) -> dict[str, Any]:
    """The plan in the schema that the official scorer takes."""
    budget = {} if plan.total is None else {"total_estimated_budget": plan.total}
    days = [day_as_json(number, day) for number, day in enumerate(plan.days, start=1)]
    return {"budget_summary": budget, "daily_plans": days}


def day_as_json(number: int, day: Day) -> dict[str, Any]:
    stay = {} if day.stay is None else {"accommodation": {"name": day.stay.name, "price_per_night": day.stay.price}}
    return {
        "day_number": number,
        "current_city": day.city,
        **stay,
        "activities": [
            {"time_slot": f"{a.start}-{a.end}", "type": a.kind, "details": details(a)} for a in day.activities
        ],
    }


def details(activity: Activity) -> dict[str, Any]:
    journey = {"from": activity.origin, "to": activity.destination, "cost": activity.cost}
    match activity.kind:
        case "travel_intercity_public":
            return {"mode": activity.mode, "number": activity.number, **journey}
        case "travel_city":
            return journey
        case "attraction" | "meal":
            return {"name": activity.name, "cost": activity.cost}
        case "hotel":
            return {"activity": activity.note, "name": activity.name}
        case "buffer":
            return {"description": activity.note}
