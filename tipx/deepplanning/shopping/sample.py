"""The embedded sample: two cases a level, made from a seed, each with the one best cart and a way to it.

Nothing of it is comparable with the benchmark; it is there to try things without its data. The same on every machine.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from random import Random
from typing import Any

from tipx.deepplanning.shopping.environment import ShoppingCase, ShoppingEnvironment
from tipx.deepplanning.shopping.files import CaseFiles
from tipx.deepplanning.shopping.invented import COLORS, KINDS, WISHES, Wish, catalogue, shuffled, user, wish
from tipx.deepplanning.shopping.optimum import PricedCart, only_best, plans
from tipx.deepplanning.shopping.task import LEVELS, ShoppingTask, Turn, buying

SLICE = "sample"
CASES = 2
"""Of each level."""
# What the user of each level-3 case owns, and whether the user is a VIP.
PURSES = (
    ({"Cross-store: ¥120 off every ¥900": 1, "Same-brand: ¥60 off every ¥400": 2}, False),
    ({"VIP: ¥200 off every ¥1,000": 1, "Cross-store: ¥30 off every ¥300": 2}, True),
)
EMPTY_CART = {"items": [], "used_coupons": [], "summary": {"total_items_count": 0, "total_price": 0.0}}
ORDINALS = ("First", "Second", "Third")


@dataclass(frozen=True)
class Drawn:
    """A case before it is known to be a good one."""

    wishes: tuple[Wish, ...]
    products: list[dict[str, Any]]
    user: dict[str, Any]

    def plans(self, *, scoped: bool = True) -> list[PricedCart]:
        return plans(self.wishes, self.products, self.user["address"], self.user["coupons"], scoped=scoped)

    def choices(self) -> list[list[dict[str, Any]]]:
        """Of each wish the products that meet it."""
        return [[one for one in self.products if wish.meets(one, self.user["address"])] for wish in self.wishes]


def draw(level: int, number: int, attempt: int) -> Drawn:
    rng = Random(f"deepplanning shopping sample {level} {number} {attempt}")  # noqa: S311 - no secret is made
    kinds = shuffled(rng, KINDS)[: len(COLORS)]
    products = catalogue(rng, kinds)
    wishes = tuple(wish(rng, kind, color) for kind, color in zip(kinds[:WISHES], COLORS[:WISHES], strict=True))
    coupons, vip = PURSES[number - 1] if level == max(LEVELS) else ({}, False)
    return Drawn(wishes, products, user(rng, coupons, vip=vip))


def chosen(level: int, drawn: Drawn) -> tuple[PricedCart, str] | None:
    """(the best cart, what the query says of money), or None where the case is too easy or leaves a choice."""
    if not all(tempting(drawn, at) for at in range(WISHES)):
        return None
    ranked = drawn.plans()
    if level == 1:
        best = only_best(ranked)
        return (best, "") if best else None
    return budgeted(ranked) if level == 2 else discounted(drawn, ranked)


def tempting(drawn: Drawn, at: int) -> bool:
    """Whether a wish has two products or more, and something cheaper of its kind and color that does not meet it."""
    choices, one = drawn.choices()[at], drawn.wishes[at]
    alike = [p for p in drawn.products if p["name"].endswith(f" {one.kind}") and p["color"] == one.color]
    return len(choices) > 1 and min(p["price"] for p in alike) < min(p["price"] for p in choices)


def budgeted(ranked: Sequence[PricedCart]) -> tuple[PricedCart, str] | None:
    """A range of money that the cheapest cart is below, and in which there is a choice."""
    if len(ranked) < 4 or not ranked[0].total < ranked[1].total < ranked[2].total:
        return None
    low, high = (ranked[0].total + ranked[1].total + 1) // 2, ranked[-1].total
    return ranked[1], f" All three together should cost between {low} and {high} yuan."


def discounted(drawn: Drawn, ranked: Sequence[PricedCart]) -> tuple[PricedCart, str] | None:
    """A best cart that needs coupons and dearer products than the cheapest, however same-brand coupons are read."""
    best = only_best(ranked)
    cheapest = tuple(min(choice, key=lambda p: p["price"])["product_id"] for choice in drawn.choices())
    if best is None or not best.coupons or best.products == cheapest or best != only_best(drawn.plans(scoped=False)):
        return None
    return best, " I have some coupons; I want to pay as little as possible after discounts."


def files(level: int, number: int) -> tuple[CaseFiles, Drawn]:
    """The first good case of those that are drawn, as its four files hold it."""
    for attempt in count():
        drawn = draw(level, number, attempt)
        if found := chosen(level, drawn):
            best, money = found
            break
    names = {product["product_id"]: product["name"] for product in drawn.products}
    validation = {
        "query": query(drawn.wishes, money),
        "meta_info": [],
        "ground_truth_products": [{"product_id": one, "name": names[one]} for one in best.products],
        "ground_truth_coupons": dict(best.coupons),
    }
    return CaseFiles(drawn.products, drawn.user, EMPTY_CART, validation), drawn


def query(wishes: Sequence[Wish], money: str) -> str:
    asked = " ".join(f"{ordinal}, {one.text}." for ordinal, one in zip(ORDINALS, wishes, strict=True))
    return f"I need three things, each as cheap as it can be had. {asked} Deliver to my address.{money}"


class Walk:
    """A trajectory that is written down while it is walked."""

    def __init__(self, case: ShoppingCase) -> None:
        self.world, self.turns = ShoppingEnvironment(case, ""), list[Turn]()

    def take(self, calls: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
        self.turns.append(list(calls))
        return [json.loads(self.world.call(name, arguments)) for name, arguments in calls]


def walk(case: ShoppingCase, drawn: Drawn, files: CaseFiles) -> tuple[Turn, ...]:
    """Look up what the wishes ask for, compare, fill the cart, look at it, and once more when asked to."""
    path = Walk(case)
    path.take([("get_user_info", {})])
    words = [("search_products", {"query": f"{one.color} {one.kind}"}) for one in drawn.wishes]
    ids = [answer["product_ids"] for answer in path.take(words)]
    colors = [
        ("filter_by_color", {"colors": [one.color], "product_ids": some})
        for one, some in zip(drawn.wishes, ids, strict=True)
    ]
    ids = [answer["filtered_products_ids"] for answer in path.take(colors)]
    ranges = [
        ("filter_by_range", {"condition_key": one.path, "operator": one.sign, "value": one.bound, "product_ids": some})
        for one, some in zip(drawn.wishes, ids, strict=True)
    ]
    left = [one for answer in path.take(ranges) for one in answer["filtered_products_ids"]]
    (ranked,) = path.take([("sort_products", {"sort_by": "price", "order": "asc", "product_ids": left})])
    order = ranked["sorted_product_ids"]
    arrival = {"destination_address": drawn.user["address"].lower()}
    looking = [("calculate_transport_time", {"product_id": one} | arrival) for one in order]
    path.take([("get_product_details", {"product_ids": order}), *looking])
    products, coupons = files.bought()
    path.take(buying(list(products), coupons))
    done = "The cart holds the best product for each wish."
    return (*path.turns, done, [("get_cart_info", {})], done)


@cache
def tasks() -> tuple[ShoppingTask, ...]:
    """All of them, in order of level; the same objects each time, which nothing changes."""
    return tuple(task(level, number) for level in LEVELS for number in range(1, CASES + 1))


def task(level: int, number: int) -> ShoppingTask:
    held, drawn = files(level, number)
    name = f"sample/shopping_l{level}/{number}"
    case = held.case(name)
    return ShoppingTask(name, SLICE, level, held.query, case, walk(case, drawn, held))
