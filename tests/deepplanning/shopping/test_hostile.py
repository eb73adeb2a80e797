"""Whatever a model writes, the tool answers: JSON, in little time, and without looking at a disk."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.deepplanning.shopping.conftest import CROSS
from tipx.deepplanning.shopping.coupons import COUPONS
from tipx.deepplanning.shopping.environment import ShoppingCase, ShoppingEnvironment
from tipx.deepplanning.shopping.schemas import REQUIRED, TOOLS

KEYS = sorted({key for entry in TOOLS for key in entry["function"]["parameters"]["properties"]})
FIT = [
    "a",
    "b",
    "price",
    "rating",
    "product_id",
    ">",
    "asc",
    "beijing",
    "../../etc/passwd",
    "/etc/passwd",
    "\ud800",
    *COUPONS,
]
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(FIT)
ANY = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
ARGUMENTS = st.dictionaries(st.sampled_from(KEYS) | st.text(), ANY)
NAMES = st.sampled_from([*REQUIRED]) | st.text() | st.sampled_from(["__init__", "answer", "../cart"])
MEGABYTES = 10 * 2**20


def answered(world: ShoppingEnvironment, name: Any, arguments: Any) -> dict[str, Any]:
    text = world.call(name, arguments)
    text.encode()  # no half a character
    answer = json.loads(text)
    assert isinstance(answer, dict)
    return answer


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.tuples(NAMES, ARGUMENTS), max_size=8))
@example(calls=[("add_product_to_cart", {"product_id": "a", "quantity": True})])
@example(calls=[("get_user_info", {"user_id": "\ud800"})])
@example(calls=[("calculate_transport_time", {"product_id": "a", "destination_address": "beijing\ud800"})])
def test_any_call_is_answered_and_the_cart_stays_one(
    case: ShoppingCase, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    world = ShoppingEnvironment(case, "")
    for name, arguments in calls:
        answered(world, name, arguments)
    scores = world.score("", complete=False)
    assert all(isinstance(value, float) for value in scores.values())
    for identifier, count in world.cart.items.items():
        assert 0 <= count <= case.shop.by_id[identifier]["stock_quantity"]
    assert all(0 <= count <= case.user["coupons"][coupon] for coupon, count in world.cart.coupons.items())
    assert len(case.shop.products) == 27


def deep() -> Any:
    nest: Any = []
    for _ in range(100_000):
        nest = [nest]
    return nest


MONSTERS: dict[str, Callable[[], Any]] = {
    "long": lambda: "x" * MEGABYTES,
    "words": lambda: "x y " * (MEGABYTES // 4),
    "many": lambda: ["x"] * 1_000_000,
    "one long": lambda: ["x" * MEGABYTES],
    "deep": deep,
    "deep inside": lambda: [deep()],
    "huge": lambda: 10**5000,
    "low": lambda: -(10**5000),
    "object": lambda: {"a": deep()},
    "nan": lambda: float("nan"),
    "bytes": lambda: b"bytes",
    "thing": object,
}


@pytest.mark.parametrize("kind", MONSTERS)
def test_monsters_are_refused_in_little_time(kind: str, world: ShoppingEnvironment) -> None:
    monster = MONSTERS[kind]()
    started = time.process_time()
    for entry in TOOLS:
        name, parameters = entry["function"]["name"], entry["function"]["parameters"]
        fit = {"condition_key": "price", "operator": ">", "value": 1, "sort_by": "price", "product_id": "a"}
        fit |= {"coupon_name": CROSS, "query": "lantern", "destination_address": "beijing"}
        fit |= {key: ["x"] for key in ("brand_names", "colors", "sizes", "coupon_names", "product_ids")}
        for key in parameters["properties"]:
            keep = {one: fit[one] for one in parameters["required"]}
            assert len(world.call(name, keep | {key: monster})) < 100_000
        assert "error" in answered(world, monster, {}) or isinstance(monster, dict)
        assert "error" in answered(world, name, monster) or isinstance(monster, dict)
    assert time.process_time() - started < 20


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "products.jsonl", "~/x"])
def test_paths_are_only_names(path: str, world: ShoppingEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr("io.open", opened)
    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr("os.open", opened)
    for entry in TOOLS:
        name, properties = entry["function"]["name"], entry["function"]["parameters"]["properties"]
        arguments = {key: [path] if value["type"] == "array" else path for key, value in properties.items()}
        world.call(name, arguments)
        world.call(path, arguments)
    assert world.cart.items == {}


def test_a_thousand_calls(world: ShoppingEnvironment) -> None:
    for _ in range(1000):
        answered(world, "add_product_to_cart", {"product_id": "a"})
    assert world.cart.items == {"a": 5}
