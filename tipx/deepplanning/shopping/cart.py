"""The cart of one trajectory, and the five tools that change or show it.

Quirks of the benchmark that are kept, since the model sees them or the score follows from them: adding or removing a
product writes a total without the coupons' discount, which the next change of a coupon corrects; coupons stay when
products are removed and the total no longer allows them; a quantity below 1 puts a product into the cart 0 times, which
counts as in the cart; removing more of a product than there is empties it, of a coupon it is refused. A product that
lacks its price or its stock has 0; one whose price or stock is no number cannot be added.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tipx.deepplanning.shopping.arguments import Arguments, ToolError, given, quantity, shown
from tipx.deepplanning.shopping.catalogue import Catalogue, Product
from tipx.deepplanning.shopping.coupons import COUPONS, discount, needed


class Cart:
    """What is to be bought, and by which coupons. Starts empty."""

    def __init__(self, shop: Catalogue, user: Mapping[str, Any]) -> None:
        self.shop, self.user = shop, user
        self.items: dict[str, int] = {}
        """Product id to quantity, in the order of adding."""
        self.coupons: dict[str, int] = {}
        self.total_price = 0.0
        """As it was last written: see the quirks."""

    @property
    def base(self) -> float:
        """Yuan before discounts."""
        return round(sum(price(self.shop.by_id[one]) * count for one, count in self.items.items()), 2)

    def get_cart_info(self, arguments: Arguments) -> dict[str, Any]:
        """The cart as every tool of it answers; a new object each time."""
        items = [self.line(one, count) for one, count in self.items.items()]
        coupons = [{"coupon_name": coupon, "quantity": count} for coupon, count in self.coupons.items()]
        summary = {"total_items_count": sum(self.items.values()), "total_price": self.total_price}
        return {"items": items, "used_coupons": coupons, "summary": summary}

    def line(self, identifier: str, count: int) -> dict[str, Any]:
        product = self.shop.by_id[identifier]
        return {
            "product_id": identifier,
            "name": product.get("name", ""),
            "quantity": count,
            "price": price(product),
        }

    def add_product_to_cart(self, arguments: Arguments) -> dict[str, Any]:
        product, count = self.product(arguments), quantity(arguments)
        identifier = product["product_id"]
        there = self.items.get(identifier, 0)
        try:
            _, stock = price(product), int(product.get("stock_quantity", 0))
        except (TypeError, ValueError, OverflowError) as error:
            raise ToolError(f"product_id: the price or the stock of {identifier!r} is no number") from error
        if there + count > stock:
            raise ToolError(f"quantity: {stock} of {identifier!r} in stock, {there} in the cart; cannot add {count}")
        self.items[identifier] = there + count
        return self.without_discount()

    def delete_product_from_cart(self, arguments: Arguments) -> dict[str, Any]:
        identifier, count = self.product(arguments)["product_id"], quantity(arguments)
        if identifier not in self.items:
            raise ToolError(f"product_id: {identifier!r} is not in the cart")
        self.items[identifier] -= count
        self.items = {one: left for one, left in self.items.items() if left > 0}
        return self.without_discount()

    def add_coupon_to_cart(self, arguments: Arguments) -> dict[str, Any]:
        coupon, count = self.coupon(arguments), quantity(arguments)
        after = self.coupons | {coupon: self.coupons.get(coupon, 0) + count}
        owned = (self.user.get("coupons") or {}).get(coupon, 0)
        if after[coupon] > owned:
            raise ToolError(f"quantity: the user owns {owned} of {coupon!r}; cannot use {after[coupon]}")
        if coupon.startswith("VIP:") and not self.user.get("is_vip", False):
            raise ToolError(f"coupon_name: {coupon!r} is for VIPs, which the user is not")
        if self.base < needed(after):
            raise ToolError(f"coupon_name: the cart comes to {self.base}; these coupons need {needed(after)} together")
        self.coupons = after
        return self.with_discount()

    def delete_coupon_from_cart(self, arguments: Arguments) -> dict[str, Any]:
        coupon, count = self.coupon(arguments), quantity(arguments)
        there = self.coupons.get(coupon)
        if there is None:
            raise ToolError(f"coupon_name: {coupon!r} is not in the cart")
        if there < count:
            raise ToolError(f"quantity: {there} of {coupon!r} in the cart; cannot remove {count}")
        self.coupons[coupon] = there - count
        self.coupons = {one: left for one, left in self.coupons.items() if left > 0}
        return self.with_discount()

    def product(self, arguments: Arguments) -> Product:
        identifier = given(arguments, "product_id")
        if identifier not in self.shop.by_id:
            raise ToolError(f"product_id: no product has the id {shown(identifier)}")
        return self.shop.by_id[identifier]

    def coupon(self, arguments: Arguments) -> str:
        name = given(arguments, "coupon_name")
        if name not in COUPONS:
            raise ToolError(f"coupon_name: {shown(name)} is no coupon; there are: {'; '.join(COUPONS)}")
        return name

    def without_discount(self) -> dict[str, Any]:
        self.total_price = self.base
        return self.get_cart_info({})

    def with_discount(self) -> dict[str, Any]:
        self.total_price = round(max(0.0, self.base - discount(self.coupons)), 2)
        return self.get_cart_info({})


def price(product: Product) -> float:
    """Yuan. Raises TypeError or ValueError for what is no number: such a product is in no cart."""
    return float(product.get("price", 0.0))


CHANGES: Mapping[str, Callable[[Cart, Arguments], dict[str, Any]]] = {
    "get_cart_info": Cart.get_cart_info,
    "add_product_to_cart": Cart.add_product_to_cart,
    "delete_product_from_cart": Cart.delete_product_from_cart,
    "add_coupon_to_cart": Cart.add_coupon_to_cart,
    "delete_coupon_from_cart": Cart.delete_coupon_from_cart,
}
