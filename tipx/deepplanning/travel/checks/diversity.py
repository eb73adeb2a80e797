"""Activity diversity: no restaurant and no sight twice."""

from tipx.deepplanning.travel.database import Database
from tipx.deepplanning.travel.plan import Activity, TravelPlan
from tipx.deepplanning.travel.trip import Trip


def diverse_meal_options(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    return all_different(plan.of("meal"))


def diverse_attraction_options(plan: TravelPlan, trip: Trip, db: Database) -> bool:
    return all_different(plan.of("attraction"))


def all_different(activities: list[Activity]) -> bool:
    names = [activity.name for activity in activities if activity.name]
    return len(set(names)) == len(names)
