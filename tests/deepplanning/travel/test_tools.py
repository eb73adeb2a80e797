"""Each tool on tables of a few rows, its answers worked out by hand."""

import json
from typing import Any

import pytest

from tipx.deepplanning.travel.database import COLUMNS, Database, Row
from tipx.deepplanning.travel.prompts import LANGUAGES, Language, words
from tipx.deepplanning.travel.tools import TOOLS


def row(table: str, **cells: str) -> Row:
    """A row in which every other cell is empty."""
    assert cells.keys() <= set(COLUMNS[table].split())
    return dict.fromkeys(COLUMNS[table].split(), "") | cells


def train(route: str, part: str, number: str, **more: str) -> Row:
    cells = {"origin_city": "Ada", "destination_city": "Bly", "dep_date": "2027-01-01", "duration": "90"}
    cells |= {"route_index": route, "segment_index": part, "train_no": number}
    cells |= {"price": "10.5", "seat_class": "First"}
    return row("trains", **(cells | more))


TRAINS = (
    train("2", "2", "K22", dep_station_name="Mid Station", price="1"),
    train("2", "1", "K21", arr_station_name="Mid Station", seat_status="7", price="dear"),
    train("10", "1", "K10", train_type="Fast", seat_class="Second"),
    train("1", "1", "K1", dep_date="2027-01-02"),
)
FLIGHT = row(
    "flights", origin_city="Ada", destination_city="Bly", dep_date="2027-01-01", route_index="0", segment_index="1",
    flight_no="QV1", airline="Kestrel Air", duration="60", price="99", equip_size="M", manufacturer="Orrin",
)  # fmt: skip
HOTELS = (
    row("hotels", name="Inn", hotel_star="3", brand="Lark", price="200.0", services="Gym;Pool"),
    row("hotels", name="Court", hotel_star="4", brand="Lark", price="300.0", score="NA"),
)
SIGHTS = (
    row("attractions", attraction_id="A1", attraction_name="Lamp", city="Bly", description="Bright",
        latitude="1.000000", longitude="2.000000", rating="4.5", opening_time="09:00", closing_time="17:00",
        min_visit_hours="1",
        max_visit_hours="2.5", ticket_price="30", attraction_type="Art"),
    row("attractions", attraction_name="Park", description="Green", opening_time="Open 24 Hours",
        closing_time="Open 24 Hours", attraction_type="Nature"),
)  # fmt: skip
RESTAURANTS = (
    row("restaurants", restaurant_id="R1", restaurant_name="Ladle", price_per_person="50.0", tags="Quiet;Terrace",
        query_latitude="1.000000", query_longitude="2.000000", rating="4.1"),
    row("restaurants", restaurant_id="R2", restaurant_name="Ladle", query_latitude="3.0", query_longitude="2.0"),
)  # fmt: skip
PLACES = (row("locations", poi_name="Lamp", latitude="1.000000", longitude="2.000000"),)
ROUTES = (
    row("routes", origin="1,2", destination="3,4", distance_meters="2500", duration_minutes="6", cost="16"),
    row("routes", origin="1,2", destination="3,4", distance_meters="1", duration_minutes="1", cost="1"),
    row("routes", origin="3,4", destination="5,6", distance_meters="far", duration_minutes="1", cost="1"),
)
DB = Database(TRAINS, (FLIGHT,), HOTELS, SIGHTS, RESTAURANTS, PLACES, ROUTES)
DAY = {"origin": "Ada", "destination": "Bly", "depDate": "2027-01-01"}


def answer(tool: str, language: Language = "en", **arguments: str) -> str:
    return TOOLS[tool].run(DB, words(language), arguments)


def read(tool: str, **arguments: str) -> Any:
    return json.loads(answer(tool, **arguments))


def test_trains_are_ordered_by_the_text_of_their_route_and_wrapped_each_in_a_list() -> None:
    (ten,), (two,) = read("query_train_info", **DAY)
    assert list(ten) == ["Segment 1", "price"]
    assert (ten["price"], ten["Segment 1"]["marketingTransportNo"], ten["Segment 1"]["duration"]) == (10.5, "K10", 90)
    assert ten["Segment 1"]["Remaining Seats"] == "Available"
    assert list(two) == ["Segment 1", "Segment 2", "price"]
    assert two["price"] == 0  # "dear" is no number, and the second segment's price is not the route's
    assert [two[f"Segment {n}"]["depCityName"] for n in (1, 2)] == ["Ada", "Mid"]
    assert two["Segment 1"]["Remaining Seats"] == "7"
    assert two["Segment 1"]["depStationName"] != two["Segment 1"]["depStationName"]  # an empty cell is NaN


def test_a_seat_class_leaves_its_segments_and_an_empty_one_leaves_all() -> None:
    (route,) = read("query_train_info", **DAY, seatClassName="Second")
    assert route[0]["Segment 1"]["marketingTransportNo"] == "K10"
    assert len(read("query_train_info", **DAY, seatClassName="")) == 2


def test_flights_are_not_wrapped_and_name_their_craft() -> None:
    (route,) = read("query_flight_info", **DAY)
    assert route["price"] == 99
    assert (route["Segment 1"]["equipSize"], route["Segment 1"]["manufacturer"]) == ("M", "Orrin")
    assert route["Segment 1"]["marketingTransportName"] == "Kestrel Air"


def test_hotels_are_the_same_in_every_city_and_on_every_day() -> None:
    nights = {"destination": "Mars", "checkinDate": "never", "checkoutDate": "x"}
    inn, court = read("query_hotel_info", **nights)
    assert (inn["hotelStar"], inn["price"], inn["services"]) == ("3", "200.0", ["Gym", "Pool"])
    assert (court["score"], court["address"], "services" in court) == ("", "", False)
    assert [h["name"] for h in read("query_hotel_info", **nights, hotelStar="4", hotelBrands="Lark")] == ["Court"]


def test_the_details_of_a_sight_are_lines() -> None:
    lines = answer("query_attraction_details", attraction_name="Lamp").split("\n")
    assert len(lines) == 13
    assert lines[4] == "Coordinates\uff1aLatitude 1.000000\uff0cLongitude 2.000000"
    assert lines[6:12] == [
        "Rating\uff1a4.5(average visitor rating)",
        "Opening Hours\uff1a09:00 to 17:00",
        "Closed Dates\uff1anan",
        "Minimum Visit Duration\uff1a1.0 hours",
        "Maximum Visit Duration\uff1a2.5 hours",
        "Ticket Price\uff1a30.0 RMB",
    ]
    park = answer("query_attraction_details", "zh", attraction_name="Park").split("\n")
    assert park[7] == "开放时间\uff1aOpen 24 Hours"
    assert park[11] == "门票价格\uff1a0 元"


def test_sights_are_those_of_the_task_whatever_the_city() -> None:
    lines = answer("recommend_attractions", city="Mars").split("\n")
    assert lines == [
        "Recommended attractions:", "", "Lamp, Bright. This is a Art type attraction",
        "Park, Green. This is a Nature type attraction",
    ]  # fmt: skip
    assert "Lamp" not in answer("recommend_attractions", city="Bly", attraction_type="Nature")


def test_places_and_roads_are_found_by_exact_text_and_the_first_row_counts() -> None:
    assert read("search_location", place_name="Lamp") == {
        "place_name": "Lamp", "latitude": "1.000000", "longitude": "2.000000",
    }  # fmt: skip
    road = read("query_road_route_info", origin="1,2", destination="3,4")
    assert (road["distance_in_meters"], road["duration_in_minutes"], road["cost"]) == (2500, 6, 16)
    for origin, destination, missing in (("1, 2", "3,4", "1, 2"), ("1,2", "9,9", "9,9")):
        assert missing in answer("query_road_route_info", origin=origin, destination=destination)
    with pytest.raises(ValueError, match="far"):
        answer("query_road_route_info", origin="3,4", destination="5,6")


def test_restaurants_are_those_listed_for_the_very_coordinates() -> None:
    (ladle,) = read("recommend_restaurants", latitude="1.000000", longitude="2.000000")
    assert (ladle["name"], ladle["price_per_person"], ladle["tags"]) == ("Ladle", "50.0", ["Quiet", "Terrace"])
    assert "id" not in ladle
    assert "1.0" in answer("recommend_restaurants", latitude="1.0", longitude="2.0")
    assert read("query_restaurant_details", restaurant_name="Ladle")["id"] == "R1"  # the first of two


NOTHING = {
    "query_train_info": DAY | {"depDate": "1999-01-01"},
    "query_flight_info": DAY | {"origin": "Mars"},
    "query_hotel_info": {"destination": "Mars", "checkinDate": "a", "checkoutDate": "b", "hotelStar": "9"},
    "query_attraction_details": {"attraction_name": "Mars"},
    "recommend_attractions": {"city": "Bly", "attraction_type": "Mars"},
    "search_location": {"place_name": "Mars"},
    "query_road_route_info": {"origin": "5,6", "destination": "1,2"},
    "recommend_restaurants": {"latitude": "Mars", "longitude": "0"},
    "query_restaurant_details": {"restaurant_name": "Mars"},
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("tool", TOOLS)
def test_no_match_is_a_sentence(tool: str, language: Language) -> None:
    text = answer(tool, language, **NOTHING[tool])
    if tool == "query_restaurant_details":
        assert json.loads(text).keys() == {"message", "restaurant_name"}
    else:
        assert text[0] not in "[{"
        assert "\n" not in text
    assert tool == "recommend_attractions" or "Mars" in text or "1999" in text or "5,6" in text
