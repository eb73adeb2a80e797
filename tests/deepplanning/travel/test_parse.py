"""Plans as models write them, and texts that are none."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.deepplanning.travel.worlds import gold
from tipx.deepplanning.travel.lines import DISTANCE, DURATION, PRICE
from tipx.deepplanning.travel.parse import MOST_LINES, Parsed, amount, parse, plan_block
from tipx.deepplanning.travel.plan import Activity, Day, Stay, TravelPlan
from tipx.deepplanning.travel.sample import samples
from tipx.deepplanning.travel.sample.script import written

NAMES = frozenset(
    {"Larkspur Inn - Old Quay", "Salt, Smoke & Thyme", "A - B", "Hall", "Quay Station", "Route, 66", "Lamp Museum"}
)


def one(line: str) -> Activity:
    """The one activity of a plan of one line."""
    parsed = parse(f"<plan>Day 1:\n{line}</plan>", NAMES)
    assert parsed.failures == 0
    assert parsed.plan is not None
    (activity,) = parsed.plan.days[0].activities
    return activity


def test_a_plan_is_read_as_it_was_written() -> None:
    for sample in samples():
        case = gold(sample)
        parsed = parse(written(case.plan, sample.world.names), case.db.names)
        assert parsed == Parsed(case.plan, 0)
        assert len(case.plan.of("meal")) == 3


@pytest.mark.parametrize(
    ("line", "ends", "cost"),
    [
        ("Hall - Lamp Museum, 3.2km, 9min, ¥18", ("Hall", "Lamp Museum"), 18),
        ("Hall - Larkspur Inn - Old Quay, 3.2km, 9min, ¥18", ("Hall", "Larkspur Inn - Old Quay"), 18),
        ("Larkspur Inn - Old Quay - Hall, 3.2km, 9min, ¥0", ("Larkspur Inn - Old Quay", "Hall"), 0),
        ("A - B - Salt, Smoke & Thyme, 1,200m, 15 minutes, ¥1,018", ("A - B", "Salt, Smoke & Thyme"), 1018),
        ("X - Y - Z", ("X - Y", "Z"), None),
        ("酒店 - 景点\uff0c3公里\uff0c9分钟\uff0c\uffe518", ("酒店", "景点"), 18),
    ],
)
def test_the_tables_tell_where_a_name_ends(line: str, ends: tuple[str, str], cost: float | None) -> None:
    found = one(f"09:00-09:10 | travel_city | {line}")
    assert ((found.origin, found.destination), found.cost) == (ends, cost)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("meal | Lunch, Salt, Smoke & Thyme, ¥80/person", {"note": "Lunch", "name": "Salt, Smoke & Thyme", "cost": 80}),
        ("meal | Salt, Smoke & Thyme, 80 RMB per person", {"note": "", "name": "Salt, Smoke & Thyme", "cost": 80}),
        ("meal | Dinner, Elsewhere", {"note": "Dinner", "name": "Elsewhere", "cost": None}),
        ("attraction | Lamp Museum, ¥60.5/person", {"name": "Lamp Museum", "cost": 60.5}),
        ("attraction | Lamp Museum, Free", {"name": "Lamp Museum", "cost": 0}),
        ("attraction | Route, 66", {"name": "Route, 66", "cost": None}),
        ("attraction | Lamp Museum", {"name": "Lamp Museum", "cost": None}),
        ("hotel | Check-in, Larkspur Inn - Old Quay", {"note": "Check-in", "name": "Larkspur Inn - Old Quay"}),
        ("hotel | Larkspur Inn - Old Quay", {"note": "", "name": "Larkspur Inn - Old Quay"}),
        ("buffer | Deplaning, baggage", {"note": "Deplaning, baggage"}),
        (
            "travel_intercity_public | flight QV12, Quay Station - Hall, ¥650/person",
            {"mode": "flight", "number": "QV12", "origin": "Quay Station", "destination": "Hall", "cost": 650},
        ),
        (
            "travel_intercity_public \uff5c 高铁K1\uff0c甲站 - 乙站\uff0c\uffe5650/人",
            {"mode": "train", "number": "K1", "origin": "甲站", "destination": "乙站", "cost": 650},
        ),
    ],
)
def test_each_kind_of_line(line: str, expected: dict[str, object]) -> None:
    found = one(f"- **09:00 - 10:30** | {line}")
    assert (found.start, found.end) == ("09:00", "10:30")
    assert {name: getattr(found, name) for name in expected} == expected


def test_heads_markup_and_the_budget() -> None:
    text = """<plan>
    **Day 1:**
    Current City:  from  Ada to Bly
    Accommodation: Larkspur Inn - Old Quay, ¥1,000/room/night
    So we set out.
    ## Day 2
    Accommodation: -
    **Budget Summary**:
       **Accommodation: 2000 RMB**
       **Total Estimated Budget: 6,280 RMB** (2000+4280)
    </plan>"""
    parsed = parse(text, NAMES)
    assert parsed.failures == 0
    assert parsed.plan is not None
    first, second = parsed.plan.days
    assert (first.city, first.stay) == ("from Ada to Bly", Stay("Larkspur Inn - Old Quay", 1000.0))
    assert (second.city, second.stay) == ("", None)
    assert parsed.plan.total == 6280


@pytest.mark.parametrize(
    ("city", "stay"),
    [
        ("**Current City**: Bly", "**Accommodation**: Larkspur Inn - Old Quay, ¥1,000/room/night"),
        ("__Current City__ : Bly", "- **Accommodation:** **Larkspur Inn - Old Quay, ¥1,000/room/night**"),
        ("* *Current City* : **Bly**", "__Accommodation:__ Larkspur Inn - Old Quay, ¥1,000/room/night"),
        ("**当前城市**\uff1aBly", "**住宿** \uff1aLarkspur Inn - Old Quay\uff0c\uffe51,000/间/晚"),
    ],
)
def test_bold_may_end_before_the_colon(city: str, stay: str) -> None:
    parsed = parse(f"<plan>**Day 1**:\n{city}\n{stay}</plan>", NAMES)
    assert parsed == Parsed(TravelPlan((Day("Bly", Stay("Larkspur Inn - Old Quay", 1000.0), ()),), None), 0)


LINES = "Day 1:\n09:00-10:00 | buffer | a\n{}Day 2:\n09:00-10:00 | buffer | b\n{}"
SUM = "Budget Summary:\nDay 1: ¥500\nDay 2 (¥300)\nAccommodation: ¥200\n**Total Estimated Budget**: ¥800\nDay 1 sum\n"


@pytest.mark.parametrize(
    "text", [LINES.format("", SUM), LINES.format("Day 1 total: ¥500\n", "**Day 2** total: ¥300\n")]
)
def test_a_sum_of_a_day_is_no_day(text: str) -> None:
    parsed = parse(f"<plan>{text}</plan>", NAMES)
    assert parsed.failures == 0
    assert parsed.plan is not None
    assert [[activity.note for activity in day.activities] for day in parsed.plan.days] == [["a"], ["b"]]
    assert parsed.plan.total == (800 if "Summary" in text else None)


@pytest.mark.parametrize("text", ["Total Estimated Budget: ¥800\n" + LINES.format("", ""), LINES.format("", "")])
def test_days_after_a_summary_are_days_if_they_hold_something(text: str) -> None:
    # As where a first <plan> is a draft: all blocks count.
    parsed = parse(f"<plan>{text}</plan><plan>{LINES.format('', SUM)}</plan>", NAMES)
    assert parsed.failures == 0
    assert parsed.plan is not None
    assert [[activity.note for activity in day.activities] for day in parsed.plan.days] == [["a"], ["b"]] * 2


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("6280 RMB", 6280),
        ("\uffe56,280", 6280),
        ("2000+4280 = 6280 RMB", 6280),
        ("6280 (= 2000 + 4280)", 6280),
        ("", None),
    ],
)
def test_the_total_is_what_the_sum_comes_to(text: str, number: float | None) -> None:
    assert amount(text) == number


@pytest.mark.parametrize(
    ("answer", "block"),
    [
        ("<think><plan>a</plan></think><plan> b </plan>", "b"),
        ("<think><plan>a</plan></THINK>", None),
        ("<plan>a</plan> and <PLAN>b</Plan>", "a\n\nb"),
        ("<plan>a<plan>b</plan>c</plan>", "a<plan>b"),
        ("<plan>a", None),
        ("</plan>a<plan>", None),
        ("<plan> </plan>", None),
        ("", None),
    ],
)
def test_all_closed_blocks_after_the_last_thought_count(answer: str, block: str | None) -> None:
    assert plan_block(answer) == block


@pytest.mark.parametrize(
    "line",
    [
        "09:00-10:00 | nap | Inn",
        "09:00-10:00 | travel_intercity_public | boat X1, A - B, ¥1",
        "09:00-10:00 | travel_intercity_public | train X1",
        "09:00-10:00 | travel_city | Hall",
        "09:00-10:00 | meal | ",
        "9-10 | meal | Lunch, Hall, ¥1",
        "09:00 - 10:00: attraction, Hall",
        "**9:00** to 10:00, Hall",
        "- 09\uff1a00 Hall",
        "09:00",
        "09:00-10:00 | attraction",
        "09:00-10:00 | buffer | " + "x" * 2_000,
        "Current City: " + "x" * 201,
    ],
)
def test_lines_that_cannot_be_read_are_counted(line: str) -> None:
    parsed = parse(f"<plan>Day 1:\n{line}\n09:00-10:00 | buffer | fine</plan>", NAMES)
    assert parsed.failures == 1
    assert parsed.plan is not None
    assert len(parsed.plan.days[0].activities) == 1


def test_lines_before_the_first_day_and_beyond_the_limit_are_counted() -> None:
    line = "09:00-10:00 | buffer | x\n"
    assert parse(f"<plan>{line}Day 1:\n</plan>", NAMES).failures == 1
    parsed = parse(f"<plan>Day 1:\n{line * (MOST_LINES + 6)}</plan>", NAMES)
    assert parsed.failures == 7
    assert parsed.plan is not None
    assert len(parsed.plan.days[0].activities) == MOST_LINES - 1


@pytest.mark.parametrize("field", [PRICE, DURATION, DISTANCE])
@pytest.mark.parametrize("text", ["", "x", "¥", "1.2.3", "1e9", "-5", "9" * 400, "1 000", "Room 101"])
def test_what_is_no_field(field: object, text: str) -> None:
    assert field.value(text) is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "unit",
    [
        "<plan>",
        "</think>",
        "<plan></plan>",
        " ",
        "\n",
        "from ",
        "(",
        " - ",
        ", ",
        "1,",
        "¥",
        "Day 1:\n",
        "Current City**",
        "Current City _",
        "09:00 ",
        "09:00-10:00 | meal | Lunch, A - B, ¥1\n",
    ],
)
def test_ten_megabytes_are_read_in_seconds(unit: str) -> None:
    text = unit * (10_000_000 // len(unit))
    # In time quadratic in its length this would take days.
    start = time.process_time()
    for wrapped in (text, f"<plan>Day 1:\nCurrent City: {text}\n09:00-10:00 | travel_city | {text}</plan>"):
        parse(wrapped, NAMES)
    assert time.process_time() - start < 60


def test_the_worst_lines_that_are_still_read_take_seconds() -> None:
    line = "09:00-10:00 | travel_city | " + " - ," * 490 + "\nCurrent City: " + "from (" * 33 + "\n"
    start = time.process_time()
    parse(f"<plan>Day 1:\n{line * MOST_LINES}</plan>", NAMES)
    assert time.process_time() - start < 60


@given(
    st.text()
    | st.lists(
        st.sampled_from(
            [
                "Day 1:\n",
                "09:00-10:00 | ",
                "meal",
                "hotel",
                " | ",
                ", ",
                " - ",
                "¥1",
                "\n",
                "Accommodation: ",
                "Current City: ",
                "Total Estimated Budget: ",
                "9",
            ]
        )
    ).map("".join)
)
def test_any_text_is_a_plan_or_none(text: str) -> None:
    parsed = parse(f"<plan>Day 1:\n{text}</plan>", NAMES)
    assert parsed.failures >= 0
