"""Cost accuracy: the plan's total is the sum of its prices; and what that sum is, which a hard constraint needs too."""

from tipx.deepplanning.travel.database import Database
from tipx.deepplanning.travel.plan import INTERCITY, TravelPlan
from tipx.deepplanning.travel.trip import Trip

TOLERANCE = 0.10
"""Share of the plan's total by which the sum may differ."""
SEATS = 4


def cost_calculation_correctness(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    """A plan without a total fails."""
    if plan.total is None:
        return False
    spent = cost(plan, trip)
    return spent == 0 if plan.total == 0 else abs(spent - plan.total) / plan.total <= TOLERANCE


def cost(plan: TravelPlan, trip: Trip) -> float:
    """What the plan costs all travellers, at its own prices.

    Of a day's journeys between cities the first with a price counts, since each part of a journey with a change shows
    the whole price. The last day needs no bed, whatever its head says. A taxi takes four.
    """
    taxis = max(1, -(-trip.people // SEATS))
    journeys = [[j.cost for j in day.of(INTERCITY) if j.cost is not None] for day in plan.days]
    per_head = sum(costs[0] for costs in journeys if costs)
    per_head += sum(a.cost or 0 for a in (*plan.of("meal"), *plan.of("attraction")))
    per_room = sum(day.stay.price or 0 for day in plan.days[:-1] if day.stay)
    per_taxi = sum(way.cost or 0 for way in plan.of("travel_city"))
    return per_head * trip.people + per_room * trip.rooms + per_taxi * taxis
