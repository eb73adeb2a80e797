"""The tools that read, each by hand."""

from typing import Any

import pytest

from tests.deepplanning.shopping.conftest import BRAND, CROSS, Call
from tipx.deepplanning.shopping.schemas import REQUIRED, TOOLS

FOUND = "filtered_products_ids"


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"query": "ZEPHYR"}, ["c"]),
        ({"query": "zephyr quaint", "limit": 0}, []),
        ({"query": "zephyr", "limit": -1}, []),
        ({"query": "zephyr brick", "limit": None}, ["c", "b"]),
        ({"query": "thing"}, []),  # in most products
        ({"query": ""}, []),
        ({"query": None}, []),
    ],
)
def test_search(arguments: dict[str, Any], found: list[str], call: Call) -> None:
    assert sorted(call("search_products", **arguments)["product_ids"]) == sorted(found)


@pytest.mark.parametrize(
    ("tool", "arguments", "found"),
    [
        ("filter_by_brand", {"brand_names": ["VELMORA", "tarnbeck"]}, ["a", "b", "c"]),
        ("filter_by_brand", {"brand_names": ["Velmora"], "product_ids": ["b", "c", "b"]}, ["b", "b"]),
        ("filter_by_brand", {"brand_names": []}, []),
        ("filter_by_color", {"colors": ["brick red"]}, ["b"]),
        ("filter_by_size", {"sizes": ["XL"]}, ["b"]),
        ("filter_by_size", {"sizes": "XL"}, ["c"]),  # the letters X and L: the benchmark's own quirk
        ("filter_by_applicable_coupons", {"coupon_names": [CROSS, BRAND]}, ["a"]),
        ("filter_by_applicable_coupons", {"coupon_names": [], "product_ids": ["no such"]}, []),
        ("filter_by_range", {"condition_key": "price", "operator": ">=", "value": 150}, ["a", "c"]),
        ("filter_by_range", {"condition_key": "price", "operator": "<", "value": "100", "product_ids": ["b"]}, ["b"]),
        ("filter_by_range", {"condition_key": "rating.average_score", "operator": "==", "value": 4.5}, ["a", "b"]),
        ("filter_by_range", {"condition_key": "price", "operator": "=>", "value": 1}, []),
        ("filter_by_range", {"condition_key": "price", "operator": ">", "value": float("nan")}, []),
    ],
)
def test_filters(tool: str, arguments: dict[str, Any], found: list[str], call: Call) -> None:
    assert call(tool, **arguments) == {FOUND: found}


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        ({"sort_by": "price"}, ["c", "a", "b"]),
        ({"sort_by": "PRICE", "order": "ASC"}, ["b", "a", "c"]),
        # a and b are equal: their order stays, also downwards.
        ({"sort_by": "rating.average_score", "product_ids": ["a", "c", "b", "no such"]}, ["a", "b", "c"]),
        ({"sort_by": "name", "order": "asc"}, ["a", "b", "c"]),
    ],
)
def test_sorting(arguments: dict[str, Any], order: list[str], call: Call) -> None:
    assert call("sort_products", **{"product_ids": ["a", "b", "c"]} | arguments) == {"sorted_product_ids": order}


def test_details_leave_out_what_is_not_there(call: Call) -> None:
    (found,) = call("get_product_details", product_ids=["no such", "b"])["products"]
    assert (found["product_id"], found["price"]) == ("b", 90.5)
    assert call("get_product_details", product_ids=[]) == {"products": []}


@pytest.mark.parametrize(
    ("identifier", "destination", "days"),
    [
        ("a", "zhejiang", 1),  # 1 in the region, SF 2 off, never below 1
        ("a", "Beijing City", 1),  # 2 - 2
        ("a", "xinjiang", 4),  # 4 + 2 remote - 2
        ("b", "guangdong", 8),  # 4 + 2 + 2
        ("b", "zhejianghangzhou", 7),  # "ji" is Hebei: 3 + 2 + 2
        ("a", "Inner Mongolia", 1),  # "e" is Hubei: 2 - 2, not remote
    ],
)
def test_transport(identifier: str, destination: str, days: int, call: Call) -> None:
    answer = call("calculate_transport_time", product_id=identifier, destination_address=destination, provider="x")
    assert answer["estimated_delivery_days"] == days
    assert answer["destination"] == destination


def test_the_user(call: Call) -> None:
    assert call("get_user_info") == call("get_user_info", user_id="u") == call("get_user_info", user_id=None)
    assert call("get_user_info")["is_vip"] is False
    assert call("get_user_info", user_id="v") == {"error": "user_id: no user has the id 'v'", "user": None}


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("no_such", {}, "no tool"),
        ("search_products", {}, "query: must be given"),
        ("search_products", {"query": "zephyr", "limit": "5"}, "limit: expected a whole number, got '5'"),
        ("search_products", {"query": "x " * 6000}, "at most 10000 characters, got 12000"),
        ("filter_by_brand", {"brand_names": {"Velmora": 1}}, "expected a list of texts, got a value of type dict"),
        ("filter_by_brand", {"brand_names": ["Velmora", 3]}, "got 3 among them"),
        ("filter_by_brand", {"brand_names": ["x"], "product_ids": ["a", "../../etc/passwd"]}, "no product has the id"),
        ("filter_by_applicable_coupons", {"coupon_names": ["half off"]}, "is no coupon; there are: Cross-store"),
        ("filter_by_range", {"condition_key": "weight", "operator": ">", "value": 1}, "not every product has 'weight'"),
        ("filter_by_range", {"condition_key": "price", "operator": ">", "value": None}, "both must be given"),
        ("sort_products", {"sort_by": "weight"}, "has no 'weight'"),
        ("sort_products", {"sort_by": "price", "order": "up"}, "expected asc or desc, got 'up'"),
        (
            "calculate_transport_time",
            {"product_id": "z", "destination_address": "beijing"},
            "no product has the id 'z'",
        ),
        ("calculate_transport_time", {"product_id": "a", "destination_address": "?"}, "expected a Chinese province"),
        ("calculate_transport_time", {"product_id": "c", "destination_address": "beijing"}, "expected a Chinese"),
    ],
)
def test_what_is_wrong_is_said(tool: str, arguments: dict[str, Any], says: str, call: Call) -> None:
    answer = call(tool, **arguments)
    assert list(answer) == ["error"]
    assert says in answer["error"]


def test_fifteen_tools_are_told_of() -> None:
    names = [entry["function"]["name"] for entry in TOOLS]
    assert len(names) == len(set(names)) == len(REQUIRED) == 15
    for entry in TOOLS:
        parameters = entry["function"]["parameters"]
        assert set(parameters["required"]) <= parameters["properties"].keys()
        assert all(value["description"] for value in parameters["properties"].values())
