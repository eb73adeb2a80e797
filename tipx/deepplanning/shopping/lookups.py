"""The ten tools that only read: what they answer, as the benchmark does, its quirks included.

Kept because they change what a model finds: sorting skips ids that there are not, where filters refuse them; an
operator that is none matches nothing; the transport time is by the product's own carrier whatever `provider` says; ties
keep the catalogue's order, also when sorted downwards. Any dotted path may be filtered and sorted by, not only those
that the schema lists.
"""

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tipx.deepplanning.shopping import transport
from tipx.deepplanning.shopping.arguments import (
    Arguments,
    ToolError,
    given,
    identifiers,
    number,
    optional,
    shown,
    strings,
    text,
)
from tipx.deepplanning.shopping.catalogue import Catalogue, Product, ids, reach
from tipx.deepplanning.shopping.coupons import COUPONS

Answer = dict[str, Any]
OPERATORS: Mapping[object, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
}


def search_products(shop: Catalogue, arguments: Arguments) -> Answer:
    """No words, no products. `limit` null is no limit, and a negative one takes so many off the end."""
    query, limit = optional(arguments, "query"), arguments.get("limit", 20)
    if limit is not None and not isinstance(limit, int):
        raise ToolError(f"limit: expected a whole number, got {shown(limit)}")
    return {"product_ids": shop.search(query)[:limit]}


def filter_by(key: str, argument: str, shop: Catalogue, arguments: Arguments) -> Answer:
    """Products whose `key` is one of the texts, in whatever case."""
    wanted = {value.lower() for value in strings(arguments, argument)}
    pool = shop.among(identifiers(arguments))
    return filtered([product for product in pool if str(product.get(key) or "").lower() in wanted])


def filtered(products: list[Product]) -> Answer:
    return {"filtered_products_ids": ids(products)}


def filter_by_applicable_coupons(shop: Catalogue, arguments: Arguments) -> Answer:
    """Products that take all of the coupons; none for no coupon."""
    wanted = set(strings(arguments, "coupon_names"))
    if unknown := sorted(wanted - set(COUPONS)):
        raise ToolError(f"coupon_names: {shown(unknown[0])} is no coupon; there are: {'; '.join(COUPONS)}")
    if not wanted:
        return filtered([])
    pool = shop.among(identifiers(arguments))
    return filtered([product for product in pool if wanted <= set(product.get("applicable_coupons") or [])])


def filter_by_range(shop: Catalogue, arguments: Arguments) -> Answer:
    """Products whose number at `condition_key` compares so with `value`; what is no number compares with nothing."""
    path, sign, bound = given(arguments, "condition_key"), arguments.get("operator"), arguments.get("value")
    if not sign or bound is None:
        raise ToolError("operator, value: both must be given")
    compares = OPERATORS.get(sign) if isinstance(sign, str) else None
    found = []
    for product in shop.among(identifiers(arguments)):
        if (value := reach(product, path)) is None:
            raise ToolError(f"condition_key: not every product has {shown(path)}")
        here, limit = number(value), number(bound)
        if compares and here is not None and limit is not None and compares(here, limit):
            found.append(product)
    return filtered(found)


def sort_products(shop: Catalogue, arguments: Arguments) -> Answer:
    """Texts in whatever case; products without a value come last."""
    path, order = given(arguments, "sort_by").lower(), text(arguments, "order", default="desc").lower()
    if order not in ("asc", "desc"):
        raise ToolError(f"order: expected asc or desc, got {shown(order)}")
    wanted = identifiers(arguments)
    pool = shop.known(wanted) if wanted else shop.products
    if pool and reach(pool[0], path) is None:
        raise ToolError(f"sort_by: the first product has no {shown(path)}")
    try:
        ranked = sorted(pool, key=partial(rank, path, order), reverse=order == "desc")
    except TypeError as error:
        raise ToolError(f"sort_by: {shown(path)} is a text of some products and a number of others") from error
    return {"sorted_product_ids": ids(ranked)}


def rank(path: str, order: str, product: Product) -> Any:
    value = reach(product, path)
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, int | float):
        return value
    return float("-inf") if order == "desc" else float("inf")


def get_product_details(shop: Catalogue, arguments: Arguments) -> Answer:
    """Everything about the products; ids that there are not are left out."""
    wanted = strings(arguments, "product_ids") if arguments.get("product_ids") else []
    return {"products": shop.known(wanted)}


def calculate_transport_time(shop: Catalogue, arguments: Arguments) -> Answer:
    identifier, destination = text(arguments, "product_id"), text(arguments, "destination_address")
    if (product := shop.by_id.get(identifier)) is None:
        raise ToolError(f"product_id: no product has the id {shown(identifier)}")
    days = transport.delivery(product, destination)
    if days is None:
        raise ToolError(f"destination_address: expected a Chinese province in pinyin, got {shown(destination)}")
    origin = product["shipping_info"]["origin"]
    return {
        "product_id": identifier,
        "origin": origin,
        "destination": destination,
        "estimated_delivery_days": days,
    }


LOOKUPS: Mapping[str, Callable[[Catalogue, Arguments], Answer]] = {
    "search_products": search_products,
    "filter_by_brand": partial(filter_by, "brand", "brand_names"),
    "filter_by_color": partial(filter_by, "color", "colors"),
    "filter_by_size": partial(filter_by, "size", "sizes"),
    "filter_by_applicable_coupons": filter_by_applicable_coupons,
    "filter_by_range": filter_by_range,
    "sort_products": sort_products,
    "get_product_details": get_product_details,
    "calculate_transport_time": calculate_transport_time,
}


def get_user_info(user: Mapping[str, Any], arguments: Arguments) -> Answer:
    """The case's one user."""
    wanted = optional(arguments, "user_id")
    if wanted and wanted != user.get("user_id"):
        raise ToolError(f"user_id: no user has the id {shown(wanted)}", user=None)
    return dict(user)
