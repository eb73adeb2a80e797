"""The fifteen tools as a model is told of them: the benchmark's names and parameters, in our own words."""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

TEXT = {"type": "string"}
RANGED = "price stock_quantity sales_volume.monthly sales_volume.total rating.average_score rating.total_reviews"
SORTED = "price sales_volume.monthly sales_volume.total rating.average_score stock_quantity name"


def tool(name: str, description: str, required: Mapping[str, Schema], more: Mapping[str, Schema]) -> Schema:
    parameters = {"type": "object", "properties": {**required, **more}, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def one(description: str, *choices: str) -> Schema:
    return TEXT | {"description": description} | ({"enum": list(choices)} if choices else {})


def several(description: str) -> Schema:
    return {"type": "array", "items": TEXT, "description": description}


def whole(description: str) -> Schema:
    return {"type": "integer", "description": description}


AMONG = {"product_ids": several("Look among these products only; leave it out to look among all.")}


def filter_tool(name: str, argument: str, what: str) -> Schema:
    description = f"Keep the products whose {what} is any of those given; capitals do not matter."
    return tool(name, description, {argument: several(f"The {what}s to keep.")}, AMONG)


def cart_tool(name: str, description: str, key: str, what: str) -> Schema:
    return tool(name, description, {key: one(what)}, {"quantity": whole("How many; 1 if left out.")})


TOOLS: list[Schema] = [
    tool(
        "search_products",
        "Find products by words of their name, brand, color, size, season and the like; the best matches come first. "
        "Returns ids.",
        {"query": one("Words to look for, such as 'waterproof jacket'.")},
        {"limit": whole("At most so many ids; 20 if left out.")},
    ),
    filter_tool("filter_by_brand", "brand_names", "brand"),
    filter_tool("filter_by_color", "colors", "color"),
    filter_tool("filter_by_size", "sizes", "size"),
    tool(
        "filter_by_applicable_coupons",
        "Keep the products on which every one of the coupons can be used.",
        {"coupon_names": several("Full names of coupons, as the user's profile has them.")},
        AMONG,
    ),
    tool(
        "filter_by_range",
        "Keep the products whose number compares so with a value.",
        {
            "condition_key": one("The number to look at.", *RANGED.split()),
            "operator": one("How it must compare.", ">", ">=", "<", "<=", "=="),
            "value": {"type": "number", "description": "What it is compared with."},
        },
        AMONG,
    ),
    tool(
        "sort_products",
        "Put products in order.",
        {"sort_by": one("What to sort by.", *SORTED.split())},
        {"order": one("Rising or falling; desc if left out.", "asc", "desc") | {"default": "desc"}} | AMONG,
    ),
    tool(
        "get_product_details",
        "Everything that is known about products: price, stock, sales, ratings star by star, shipping, coupons.",
        {"product_ids": several("Ids of the products.")},
        {},
    ),
    tool(
        "calculate_transport_time",
        "Whole days until a product arrives at a province.",
        {
            "product_id": one("Id of the product."),
            "destination_address": one("The province alone, in pinyin, such as 'zhejiang'."),
        },
        {"provider": one("The carrier; the product's own is used.")},
    ),
    tool(
        "get_user_info",
        "The user's profile: address, VIP status, coupons owned.",
        {},
        {"user_id": one("Id of a user; the current one if left out.")},
    ),
    cart_tool(
        "add_product_to_cart",
        "Put a product into the cart, if there is enough in stock. Returns the cart.",
        "product_id",
        "Id of the product.",
    ),
    cart_tool(
        "delete_product_from_cart",
        "Take a product, or some of it, out of the cart. Returns the cart.",
        "product_id",
        "Id of a product in the cart.",
    ),
    tool("get_cart_info", "Show the cart: products, coupons in use, number of items and total price.", {}, {}),
    cart_tool(
        "add_coupon_to_cart",
        "Use a coupon the user owns, if the cart comes to enough for it and those already in use. Returns the cart.",
        "coupon_name",
        "Full name of the coupon.",
    ),
    cart_tool(
        "delete_coupon_from_cart",
        "No longer use a coupon, or some of it. Returns the cart.",
        "coupon_name",
        "Full name of a coupon in the cart.",
    ),
]
REQUIRED: dict[str, list[str]] = {
    entry["function"]["name"]: entry["function"]["parameters"]["required"] for entry in TOOLS
}
