"""The 21 checks in their eight dimensions, by their official names; each is a function of plan, trip and tables.

A check is given a plan with at least one day. Most ask that nothing be wrong, so that doing nothing passes: a plan of
empty days passes 5 of 8 dimensions. That is how the benchmark scores, and a reason not to train on it bare.
"""

from collections.abc import Callable

from tipx.deepplanning.travel.checks.diversity import diverse_attraction_options, diverse_meal_options
from tipx.deepplanning.travel.checks.feasible import no_time_overlaps, reasonable_transfer_time
from tipx.deepplanning.travel.checks.hours import (
    attraction_visit_within_opening_hours,
    avoidance_of_closure_days,
    dining_within_service_hours,
    reasonable_duration_at_attractions,
    reasonable_meal_duration,
)
from tipx.deepplanning.travel.checks.money import cost_calculation_correctness
from tipx.deepplanning.travel.checks.route import (
    closed_loop_route_structure,
    seamless_intercity_transfers,
    valid_trip_duration,
)
from tipx.deepplanning.travel.checks.sandbox import (
    validated_accommodation,
    validated_attractions,
    validated_meals,
    validated_transportation,
)
from tipx.deepplanning.travel.checks.structure import (
    ends_with_accommodation,
    essential_attraction_coverage,
    essential_meal_coverage,
    traceable_accommodation,
)
from tipx.deepplanning.travel.database import Database
from tipx.deepplanning.travel.plan import TravelPlan
from tipx.deepplanning.travel.trip import Trip

Check = Callable[[TravelPlan, Trip, Database], bool]

DIMENSIONS: dict[str, tuple[Check, ...]] = {
    "route_consistency": (valid_trip_duration, closed_loop_route_structure, seamless_intercity_transfers),
    "sandbox_compliance": (
        validated_accommodation,
        validated_attractions,
        validated_meals,
        validated_transportation,
    ),
    "itinerary_structure": (
        traceable_accommodation,
        ends_with_accommodation,
        essential_meal_coverage,
        essential_attraction_coverage,
    ),
    "time_feasibility": (no_time_overlaps, reasonable_transfer_time),
    "business_hours": (
        attraction_visit_within_opening_hours,
        dining_within_service_hours,
        avoidance_of_closure_days,
    ),
    "duration_rationality": (reasonable_duration_at_attractions, reasonable_meal_duration),
    "cost_calculation_accuracy": (cost_calculation_correctness,),
    "activity_diversity": (diverse_meal_options, diverse_attraction_options),
}
CHECKS: dict[str, Check] = {check.__name__: check for checks in DIMENSIONS.values() for check in checks}
