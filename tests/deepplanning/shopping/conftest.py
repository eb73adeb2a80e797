"""A small catalogue whose numbers can be checked by eye."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.deepplanning.conftest import answers, product
from tipx.deepplanning.shopping.catalogue import Catalogue
from tipx.deepplanning.shopping.coupons import COUPONS
from tipx.deepplanning.shopping.environment import ShoppingCase, ShoppingEnvironment
from tipx.deepplanning.shopping.scoring import Truth

CROSS, BRAND, VIP = COUPONS[0], COUPONS[5], COUPONS[9]
Call = Callable[..., dict[str, Any]]


def products() -> Iterator[dict[str, Any]]:
    far = {"shipping_info": {"origin": "Xinjiang", "provider": "China Post"}}
    near = {"shipping_info": {"origin": "Zhejiang", "provider": "SF Express"}}
    yield product("a", price=150.0, rating={"average_score": 4.5}, applicable_coupons=[CROSS, BRAND], **near)
    yield product("b", price=90.5, rating={"average_score": 4.5}, color="Brick Red", size="XL", **far)
    yield product(
        "c", price=700, name="Quaint Zephyr Lantern", brand="Tarnbeck", rating={"average_score": 3.9}, size="L"
    )
    for at in range(24):
        yield product(f"filler{at}", rating={"average_score": 1.0}, brand="Other", color="None", size="S", price=10)


@pytest.fixture
def case() -> ShoppingCase:
    """The answer is a and b, and one cross-store coupon of two that the user has."""
    user = {"user_id": "u", "is_vip": False, "coupons": {CROSS: 2, BRAND: 1, VIP: 1}}
    return ShoppingCase(Catalogue(list(products())), user, Truth(frozenset({"a", "b"}), {CROSS: 1}))


@pytest.fixture
def world(case: ShoppingCase) -> ShoppingEnvironment:
    return ShoppingEnvironment(case, "look again")


@pytest.fixture
def call(world: ShoppingEnvironment) -> Call:
    """`call("name", key=value)` in one world."""
    return lambda name, **arguments: answers(world, [(name, arguments)])[0]
