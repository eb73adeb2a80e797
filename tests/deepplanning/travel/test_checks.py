"""The limits of the checks, worked out by hand: a minute on either side of each."""

from dataclasses import replace

import pytest

from tests.deepplanning.travel.test_tools import row
from tipx.deepplanning.travel.checks import CHECKS
from tipx.deepplanning.travel.checks.money import cost
from tipx.deepplanning.travel.clock import hours, minute, span, within
from tipx.deepplanning.travel.database import Database
from tipx.deepplanning.travel.hard import met
from tipx.deepplanning.travel.plan import Activity, Day, Kind, Stay, TravelPlan
from tipx.deepplanning.travel.trip import Trip, city, leg

TRIP = Trip(origin="Ada", days=2, weekday=3, people=5, rooms=3, hard={})
OUT, BACK, THERE = "from Ada to Bly", "from Bly to Ada", "Bly"
SIGHT = row("attractions", attraction_name="Lamp", opening_time="09:00", closing_time="17:00", closing_dates="Monday",
            min_visit_hours="1", max_visit_hours="2", ticket_price="30.4")  # fmt: skip
EATING = row("restaurants", restaurant_name="Ladle", opening_time="18:00", closing_time="02:00", price_per_person="50")
TRAIN = row("trains", train_no="K1", price="10.0", origin_city="Ada", destination_city="Bly",
            dep_station_name="Ada Station", arr_station_name="Bly Station")  # fmt: skip
PLACES = (
    row("locations", poi_name="Lamp", latitude="1", longitude="1"),
    row("locations", poi_name="Inn", latitude="2", longitude="2"),
    row("locations", poi_name="Far", latitude="x", longitude="2"),
)
ROADS = (row("routes", origin="1,1", destination="2,2", duration_minutes="23"),)
DB = Database((TRAIN,), (), (row("hotels", name="Inn", price="99.5"),), (SIGHT,), (EATING,), PLACES, ROADS)


def act(kind: Kind, start: str, end: str, **more: object) -> Activity:
    return Activity(kind=kind, start=start, end=end, **more)  # type: ignore[arg-type]


def passes(check: str, *days: Day, db: Database = DB, trip: Trip = TRIP) -> bool:
    return CHECKS[check](TravelPlan(days), trip, db)


@pytest.mark.parametrize(
    ("time", "expected"),
    [("00:00", 0), ("9:05", 545), ("23:59", 1439), ("24:00", 1439), ("24:01", None), ("12:60", None), ("", None),
     ("9", None), ("09:00:00", None), (" 09:00 ", 540), ("Open 24 Hours", None)],
)  # fmt: skip
def test_strict_times(time: str, expected: int | None) -> None:
    assert minute(time) == expected


def test_a_slot_that_ends_before_it_begins_ends_on_the_next_day() -> None:
    assert span("23:00", "01:00") == (1380, 1500)
    assert span("23:00", "25:00") is None
    assert hours("24:30") == 24.5


@pytest.mark.parametrize(
    ("slot", "opening", "closing", "expected"),
    [
        ((540, 600), 540, 600, True),
        ((539, 600), 540, 600, False),
        ((540, 601), 540, 600, False),
        ((1380, 60), 540, 600, False),
        ((1200, 1300), 1080, 120, True),  # open from 18:00 to 02:00
        ((60, 120), 1080, 120, True),
        ((60, 121), 1080, 120, False),
        ((1380, 60), 1080, 120, True),
        ((1380, 121), 1080, 120, False),
        ((1079, 1300), 1080, 120, False),
    ],
)
def test_business_hours(slot: tuple[int, int], opening: int, closing: int, expected: bool) -> None:
    assert within(slot, opening, closing) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from Ada to Bly", ("Ada", "Bly")),
        ("from Ada (old) to Bly (new), late", ("Ada", "Bly")),
        ("from New Ada to Old Bly", ("New Ada", "Old Bly")),
        ("from \u7532 to \u4e59", ("\u7532", "\u4e59")),
        ("Bly", None),
        ("from Ada", None),
        ("", None),
    ],
)
def test_cities_of_a_day(text: str, expected: tuple[str, str] | None) -> None:
    assert leg(text) == expected
    assert city("Bly (north)") == "Bly"


def travel(start: str, end: str) -> Activity:
    return act("travel_intercity_public", start, end)


def meals(count: int) -> tuple[Activity, ...]:
    """So many, two hours apart: 10:00, 13:00, ..."""
    return tuple(act("meal", f"{10 + 3 * n}:00", f"{11 + 3 * n}:00") for n in range(count))


@pytest.mark.parametrize(
    ("where", "start", "end", "allowed"),
    [
        (THERE, None, None, {2, 3}),
        (OUT, "07:00", "09:59", {2, 3}),
        (OUT, "07:00", "10:00", {1, 2, 3}),
        (OUT, "07:00", "14:59", {1, 2, 3}),
        (OUT, "07:00", "15:00", {0, 1}),
        (BACK, "08:59", "12:00", {0}),
        (BACK, "09:00", "12:00", {0, 1}),
        (BACK, "14:59", "18:00", {0, 1}),
        (BACK, "15:00", "18:00", {1, 2, 3}),
        (OUT, None, None, {0, 1, 2, 3}),  # without a journey nobody knows
    ],
)
def test_how_many_meals(where: str, start: str | None, end: str | None, allowed: set[int]) -> None:
    way = () if start is None or end is None else (travel(start, end),)
    # A way home begins where the days before have led to.
    before = (Day(OUT),) if where == BACK else ()
    trip = replace(TRIP, origin=THERE) if where == THERE else TRIP
    found = {
        n
        for n in range(4)
        if passes("essential_meal_coverage", *before, Day(where, None, (*way, *meals(n))), trip=trip)
    }
    assert found == allowed


def test_two_meals_are_two_hours_apart() -> None:
    for second, fine in (("12:59", False), ("13:00", True)):
        day = Day(THERE, None, (act("meal", second, "14:00"), act("meal", "10:00", "11:00")))
        assert passes("essential_meal_coverage", day) is fine


@pytest.mark.parametrize(
    ("where", "start", "end", "needed"),
    [
        (OUT, "07:00", "11:59", True),
        (OUT, "07:00", "12:00", False),
        (BACK, "16:00", "18:00", False),
        (BACK, "16:01", "18:00", True),
    ],
)
def test_a_day_of_travel_with_time_for_a_sight(where: str, start: str, end: str, needed: bool) -> None:
    before = (Day(OUT),) if where == BACK else ()
    sight = act("attraction", "13:00", "14:00", name="Lamp")
    assert passes("essential_attraction_coverage", *before, Day(where, None, (travel(start, end),))) is not needed
    assert passes("essential_attraction_coverage", *before, Day(where, None, (travel(start, end), sight)))


def test_a_full_day_has_two_sights_or_four_hours_with_the_ways() -> None:
    lamp, way = act("attraction", "10:00", "13:00", name="Lamp"), act("travel_city", "13:00", "14:00", origin="Lamp")
    assert passes("essential_attraction_coverage", Day(THERE, None, (lamp, replace(lamp, name="Park"))))
    assert passes("essential_attraction_coverage", Day(THERE, None, (lamp, way)))
    assert not passes("essential_attraction_coverage", Day(THERE, None, (lamp, replace(way, origin="Inn"))))
    assert not passes("essential_attraction_coverage", Day(THERE, None, (lamp,)))


@pytest.mark.parametrize(
    ("start", "buffer", "expected"),
    [
        # 23 minutes by the road: from min(18, 20) to max(28, 30).
        ("10:17", None, False),
        ("10:18", None, True),
        ("10:30", None, True),
        ("10:31", None, False),
        ("11:00", ("10:00", "10:37"), True),
        ("11:00", ("10:00", "10:29"), False),
        ("11:00", ("09:00", "09:37"), False),  # a buffer elsewhere
        ("09:30", None, True),  # an overlap is another check's
    ],
)
def test_the_time_for_a_way(start: str, buffer: tuple[str, str] | None, expected: bool) -> None:
    wait = () if buffer is None else (act("buffer", *buffer),)
    day = Day(
        THERE, None, (act("attraction", "09:00", "10:00", name="Lamp"), *wait, act("hotel", start, "12:00", name="Inn"))
    )
    assert passes("reasonable_transfer_time", day) is expected


def test_a_way_over_midnight_and_ways_that_nobody_knows() -> None:
    lamp = act("attraction", "22:00", "23:50", name="Lamp")
    assert passes("reasonable_transfer_time", Day(THERE, None, (lamp, act("hotel", "00:13", "08:00", name="Inn"))))
    assert not passes("reasonable_transfer_time", Day(THERE, None, (lamp, act("hotel", "03:00", "08:00", name="Inn"))))
    for name in ("Elsewhere", "Far", "Lamp", ""):
        assert passes("reasonable_transfer_time", Day(THERE, None, (lamp, act("hotel", "03:00", "08:00", name=name))))


def test_slots_that_touch_do_not_overlap() -> None:
    first, second = act("meal", "10:00", "11:00"), act("hotel", "11:00", "12:00")
    assert passes("no_time_overlaps", Day(THERE, None, (second, first)))
    assert not passes("no_time_overlaps", Day(THERE, None, (first, replace(second, start="10:59"))))
    assert passes("no_time_overlaps", Day(THERE, None, (first, replace(second, start="99:99"))))


@pytest.mark.parametrize(
    ("check", "kind", "name", "price", "expected"),
    [
        ("validated_attractions", "attraction", "Lamp", 30.0, True),
        ("validated_attractions", "attraction", "Lamp", 31.0, False),
        ("validated_attractions", "attraction", "Lamp", None, False),
        ("validated_attractions", "attraction", "lamp", 30.0, False),
        ("validated_meals", "meal", "Ladle", 50.4, True),
        ("validated_meals", "meal", "", 50.0, False),
        ("validated_transportation", "travel_intercity_public", "K1", 10.0, True),
        ("validated_transportation", "travel_intercity_public", "K1", 11.0, False),
        ("validated_transportation", "travel_intercity_public", "K2", 10.0, False),
        ("validated_transportation", "travel_intercity_public", "K1", None, False),
    ],
)
def test_names_and_prices(check: str, kind: Kind, name: str, price: float | None, expected: bool) -> None:
    one = act(kind, "10:00", "11:00", name=name, number=name, cost=price, origin="A", destination="B")
    assert passes(check, Day(THERE, None, (one,))) is expected


def test_a_price_that_the_tables_lack_is_not_compared() -> None:
    db = replace(DB, attractions=({**SIGHT, "ticket_price": ""},), trains=({**TRAIN, "price": "dear"},))
    for kind, check in (
        ("attraction", "validated_attractions"),
        ("travel_intercity_public", "validated_transportation"),
    ):
        one = act(kind, "10:00", "11:00", name="Lamp", number="K1", cost=7.0, origin="A", destination="B")  # type: ignore[arg-type]
        assert passes(check, Day(THERE, None, (one,)), db=db)


def test_hotels_by_head_and_activity() -> None:
    rest = act("hotel", "20:00", "22:00", name="Inn")
    # 99.5 rounds to the even 100.
    for stay, fine in (
        (Stay("Inn", 100.0), True),
        (Stay("Inn", 99.0), False),
        (Stay("Inn", None), False),
        (Stay("x", 1.0), False),
    ):
        assert passes("validated_accommodation", Day(OUT, stay, (rest,)), Day(BACK)) is fine
    other = Day(OUT, Stay("Inn", 100.0), (replace(rest, name="x"),))
    assert not passes("validated_accommodation", other, Day(BACK))
    assert passes("validated_accommodation", Day(BACK), other), "the last day's activities are not looked up"
    assert passes("validated_accommodation", Day(BACK, Stay("-", None)))


def test_sights_are_open_on_the_day() -> None:
    lamp = act("attraction", "10:00", "11:00", name="Lamp")
    assert passes("avoidance_of_closure_days", Day(OUT, None, (lamp,)))  # a Wednesday
    monday = [Day(OUT)] * 5 + [Day(OUT, None, (lamp,))]
    assert not passes("avoidance_of_closure_days", *monday)
    assert passes("avoidance_of_closure_days", *monday, trip=replace(TRIP, weekday=0))
    zh = replace(DB, attractions=({**SIGHT, "closing_dates": "\u5468\u4e8c, \u5468\u4e09"},))
    assert not passes("avoidance_of_closure_days", Day(OUT, None, (lamp,)), db=zh)


def test_hours_that_the_tables_lack() -> None:
    lamp, meal = act("attraction", "03:00", "04:00", name="Lamp"), act("meal", "03:00", "04:00", name="Ladle")
    day = Day(OUT, None, (lamp, meal))
    assert not passes("attraction_visit_within_opening_hours", day)
    assert not passes("dining_within_service_hours", day)
    always = {"opening_time": "Open 24 Hours", "closing_time": "Open 24 Hours"}
    assert passes("attraction_visit_within_opening_hours", day, db=replace(DB, attractions=({**SIGHT, **always},)))
    empty = {"opening_time": "", "closing_time": ""}
    db = replace(DB, attractions=({**SIGHT, **empty},), restaurants=({**EATING, **empty},))
    assert not passes("attraction_visit_within_opening_hours", day, db=db)
    assert passes("dining_within_service_hours", day, db=db)


@pytest.mark.parametrize(
    ("end", "sight", "meal"),
    [
        ("10:29", False, False),
        ("10:30", False, True),
        ("11:00", True, True),
        ("12:00", True, True),
        ("12:01", False, True),
        ("12:30", False, True),
        ("12:31", False, False),
    ],
)
def test_how_long_one_stays(end: str, sight: bool, meal: bool) -> None:
    day = Day(OUT, None, (act("attraction", "10:00", end, name="Lamp"), act("meal", "10:00", end, name="Ladle")))
    assert passes("reasonable_duration_at_attractions", day) is sight
    assert passes("reasonable_meal_duration", day) is meal


def test_what_a_plan_costs() -> None:
    change = (
        act("travel_intercity_public", "7:00", "8:00", cost=10.0),
        act("travel_intercity_public", "8:00", "9:00", cost=99.0),
    )
    spent = (act("meal", "12:00", "13:00", cost=50.0), act("attraction", "14:00", "15:00", cost=30.0))
    days = (Day(OUT, Stay("Inn", 100.0), (*change, *spent, act("travel_city", "9:00", "9:10", cost=20.0))),)
    plan = TravelPlan((*days, Day(BACK, Stay("Inn", 100.0))), 830.0)
    # Five people: 5 * (10 + 50 + 30); three rooms for one night: 300; two taxis: 40.
    assert cost(plan, TRIP) == 790
    for total, fine in (
        (790.0, True),
        (719.0, True),
        (718.0, False),
        (877.0, True),
        (878.0, False),
        (0.0, False),
        (None, False),
    ):
        assert CHECKS["cost_calculation_correctness"](replace(plan, total=total), TRIP, DB) is fine
    assert CHECKS["cost_calculation_correctness"](TravelPlan((Day(),), 0.0), TRIP, DB)


def test_hard_constraints_by_the_beginning_of_their_names() -> None:
    day = Day(OUT, Stay("Inn", 1.0), (act("travel_intercity_public", "7:00", "8:00", mode="train", number="K1"),))
    hard = {
        "train_any": {"outbound_train_no": "K1"},
        "train_both": {"outbound_train_no": "K1", "inbound_train_no": "K2"},
        "train_none": {},
        "flight_any": {"outbound_flight_no": "K1"},
        "hotel_any": {"hotel_name": "Inn"},
        "hotel_none": {},
        "restaurant_none": {"restaurant_name": ""},
        "attraction_none": {"attraction_names": []},
        "budget_constraint": {"max_budget": "3"},
        "budget_constraint_2": {},
        "weather_any": {},
    }
    found = met(TravelPlan((day, Day(BACK))), replace(TRIP, hard=hard))
    assert {name for name, fine in found.items() if fine} == {
        "train_any",
        "train_none",
        "hotel_any",
        "budget_constraint",
    }
    assert hard.keys() - found.keys() == {"weather_any", "budget_constraint_2"}


def test_the_loop_is_closed_and_no_city_is_reached_without_a_journey() -> None:
    out = act("travel_intercity_public", "7:00", "8:00", origin="Ada Station", destination="Bly Station")
    there, home = (
        Day(OUT, None, (out,)),
        Day(BACK, None, (replace(out, origin="Bly Station", destination="Ada Station"),)),
    )
    assert passes("seamless_intercity_transfers", there, Day(THERE), home)
    assert not passes("seamless_intercity_transfers", Day(OUT), home)
    assert not passes("seamless_intercity_transfers", there, Day("Ada"), home)
    assert not passes("seamless_intercity_transfers", there, Day(), home)
    assert not passes("closed_loop_route_structure", home, there)
    assert passes("closed_loop_route_structure", Day(THERE), Day(THERE)), "days without a journey are not looked at"
