"""The cart by hand: stock, totals, coupons, and the quirks that are kept."""

from typing import Any

import pytest

from tests.deepplanning.conftest import answers
from tests.deepplanning.shopping.conftest import BRAND, CROSS, VIP, Call
from tipx.deepplanning.shopping.catalogue import Catalogue
from tipx.deepplanning.shopping.coupons import COUPONS
from tipx.deepplanning.shopping.environment import ShoppingCase, ShoppingEnvironment
from tipx.deepplanning.shopping.scoring import Truth

EMPTY = {"items": [], "used_coupons": [], "summary": {"total_items_count": 0, "total_price": 0.0}}


def total(cart: dict[str, Any]) -> float:
    return float(cart["summary"]["total_price"])


def test_products_come_and_go(call: Call) -> None:
    assert call("get_cart_info") == EMPTY
    call("add_product_to_cart", product_id="a")
    cart = call("add_product_to_cart", product_id="b", quantity=2.9)  # cut to 2
    assert cart["items"][1] == {"product_id": "b", "name": "Plain Thing", "quantity": 2, "price": 90.5}
    assert cart["summary"] == {"total_items_count": 3, "total_price": 331.0}  # 150 + 2 * 90.5
    assert call("delete_product_from_cart", product_id="b")["summary"]["total_items_count"] == 2
    assert total(call("delete_product_from_cart", product_id="b", quantity=99)) == 150.0
    assert call("delete_product_from_cart", product_id="b")["error"] == "product_id: 'b' is not in the cart"
    assert call("get_cart_info") == call("get_cart_info", nonsense=1)


def test_stock_is_counted_with_what_is_in_the_cart(call: Call) -> None:
    call("add_product_to_cart", product_id="a", quantity=3)
    assert (
        "5 of 'a' in stock, 3 in the cart; cannot add 3"
        in call("add_product_to_cart", product_id="a", quantity=3)["error"]
    )
    assert total(call("add_product_to_cart", product_id="a", quantity=2)) == 750.0


@pytest.mark.parametrize(
    ("odd", "price"),
    [
        ({"stock_quantity": 2}, 0.0),
        ({"price": "12.5", "stock_quantity": "2"}, 12.5),
        ({"price": 1.0}, None),
        ({"price": None, "stock_quantity": 2}, None),
        ({"price": "cheap", "stock_quantity": 2}, None),
        ({"price": 1.0, "stock_quantity": float("inf")}, None),
    ],
)
def test_a_product_without_numbers(odd: dict[str, Any], price: float | None) -> None:
    shop = Catalogue([{"product_id": "odd", "name": "Odd"} | odd])
    world = ShoppingEnvironment(ShoppingCase(shop, {}, Truth(frozenset({"odd"}), {})), "")
    (cart,) = answers(world, [("add_product_to_cart", {"product_id": "odd"})])
    if price is None:
        assert "in stock" in cart["error"] or "the price or the stock of 'odd' is no number" in cart["error"]
        assert answers(world, [("get_cart_info", {})]) == [EMPTY]
    else:
        assert (total(cart), cart["items"][0]["price"]) == (price, price)


HUGE = pytest.param(10**5000, id="huge")


@pytest.mark.parametrize("quantity", [0, -1, "2", None, [1], float("nan"), float("inf"), HUGE, {}])
@pytest.mark.parametrize("tool", ["add_product_to_cart", "delete_product_from_cart"])
def test_a_quantity_is_a_number_above_0(tool: str, quantity: Any, call: Call) -> None:
    call("add_product_to_cart", product_id="a")
    assert call(tool, product_id="a", quantity=quantity)["error"].startswith("quantity: ")
    assert call("get_cart_info")["summary"]["total_items_count"] == 1


def test_half_a_product_is_in_the_cart_0_times_and_counts(call: Call, world: ShoppingEnvironment) -> None:
    assert call("add_product_to_cart", product_id="a", quantity=0.5)["items"][0]["quantity"] == 0
    assert world.score("", complete=True)["matched"] == 1


def test_coupons_need_their_thresholds_together(call: Call) -> None:
    call("add_product_to_cart", product_id="a", quantity=2)
    cart = call("add_coupon_to_cart", coupon_name=CROSS)  # 300 of 300
    assert cart["used_coupons"] == [{"coupon_name": CROSS, "quantity": 1}]
    assert total(cart) == 270.0
    assert (
        "the cart comes to 300.0; these coupons need 600 together"
        in call("add_coupon_to_cart", coupon_name=CROSS)["error"]
    )
    assert "need 500 together" in call("add_coupon_to_cart", coupon_name=BRAND)["error"]
    call("add_product_to_cart", product_id="a", quantity=2)
    assert total(call("add_coupon_to_cart", coupon_name=CROSS)) == 540.0
    assert call("get_cart_info")["used_coupons"] == [{"coupon_name": CROSS, "quantity": 2}]
    assert "owns 2" in call("add_coupon_to_cart", coupon_name=CROSS)["error"]


def test_a_same_brand_coupon_is_not_held_to_one_brand(call: Call) -> None:
    for identifier in ("a", "filler1", "filler1", "filler1", "filler1", "filler2"):
        call("add_product_to_cart", product_id=identifier)
    assert total(call("add_coupon_to_cart", coupon_name=BRAND)) == 175.0  # 150 + 50 = 200, of two brands


def test_vip_coupons_are_for_vips(case: ShoppingCase, call: Call) -> None:
    call("add_product_to_cart", product_id="c", quantity=2)
    assert "is for VIPs" in call("add_coupon_to_cart", coupon_name=VIP)["error"]
    other = ShoppingEnvironment(ShoppingCase(case.shop, {**case.user, "is_vip": True}, case.truth), "")
    other.call("add_product_to_cart", {"product_id": "c", "quantity": 2})
    other.call("add_coupon_to_cart", {"coupon_name": VIP})
    assert (other.cart.coupons, other.cart.total_price) == ({VIP: 1}, 1200.0)


def test_coupons_are_taken_out(call: Call) -> None:
    call("add_product_to_cart", product_id="c")
    call("add_coupon_to_cart", coupon_name=CROSS, quantity=2)
    assert "2 of" in call("delete_coupon_from_cart", coupon_name=CROSS, quantity=3)["error"]
    assert total(call("delete_coupon_from_cart", coupon_name=CROSS)) == 670.0
    assert call("delete_coupon_from_cart", coupon_name=CROSS)["used_coupons"] == []
    assert "is not in the cart" in call("delete_coupon_from_cart", coupon_name=CROSS)["error"]
    assert "is no coupon" in call("delete_coupon_from_cart", coupon_name="half off")["error"]
    assert "owns 0" in call("add_coupon_to_cart", coupon_name=COUPONS[1])["error"]


def test_a_total_without_the_discount_and_a_coupon_that_stays(call: Call) -> None:
    call("add_product_to_cart", product_id="a", quantity=2)
    assert total(call("add_coupon_to_cart", coupon_name=CROSS)) == 270.0
    assert total(call("add_product_to_cart", product_id="b")) == 390.5  # the benchmark forgets the coupon here
    cart = call("delete_product_from_cart", product_id="a", quantity=2)
    assert (total(cart), len(cart["used_coupons"])) == (90.5, 1)


def test_two_worlds_never_share_a_cart(case: ShoppingCase) -> None:
    one, two = ShoppingEnvironment(case, "x"), ShoppingEnvironment(case, "x")
    one.call("add_product_to_cart", {"product_id": "a", "quantity": 2})
    one.call("add_coupon_to_cart", {"coupon_name": CROSS})
    one.follow_up()
    assert (two.cart.items, two.cart.coupons, two.cart.total_price, two.pending) == ({}, {}, 0.0, "x")
    assert two.call("get_user_info", {}) == one.call("get_user_info", {})


def test_there_are_two_phases(world: ShoppingEnvironment) -> None:
    assert [world.follow_up() for _ in range(3)] == ["look again", None, None]
