"""The best cart, by trying every one: what makes the answers of the embedded sample sure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product as every

from tipx.deepplanning.shopping.catalogue import Product
from tipx.deepplanning.shopping.coupons import TERMS, discount, needed
from tipx.deepplanning.shopping.invented import Wish


@dataclass(frozen=True)
class PricedCart:
    """One product for each wish, coupons with their quantities, and what it comes to."""

    products: tuple[str, ...]
    coupons: tuple[tuple[str, int], ...]
    total: int


def plans(
    wishes: Sequence[Wish],
    products: Sequence[Product],
    address: str,
    owned: Mapping[str, int],
    *,
    scoped: bool = True,
) -> list[PricedCart]:
    """Every cart that meets the wishes with coupons that may be used so, cheapest first.

    Not `scoped` forgets that a same-brand coupon counts one brand only, as the tools do.
    """
    choices = [[one for one in products if wish.meets(one, address)] for wish in wishes]
    found = [plan for combo in every(*choices) for plan in with_coupons(combo, owned, scoped=scoped)]
    return sorted(found, key=lambda plan: (plan.total, plan.products, plan.coupons))


def with_coupons(combo: Sequence[Product], owned: Mapping[str, int], *, scoped: bool) -> Iterator[PricedCart]:
    base = sum(one["price"] for one in combo)
    for counts in every(*(range(count + 1) for count in owned.values())):
        used = {coupon: count for coupon, count in zip(owned, counts, strict=True) if count}
        if base >= needed(used) and (not scoped or in_scope(combo, used)):
            yield PricedCart(tuple(one["product_id"] for one in combo), tuple(used.items()), base - discount(used))


def in_scope(combo: Sequence[Product], used: Mapping[str, int]) -> bool:
    """Whether every same-brand coupon has a brand that it counts; at most one sort of them may be in use."""
    subtotals = Counter[str]()
    for one in combo:
        subtotals[one["brand"]] += one["price"]
    for coupon, count in used.items():
        threshold = TERMS[coupon][1]
        if coupon.startswith("Same-brand") and sum(total // threshold for total in subtotals.values()) < count:
            return False
    return True


def only_best(ranked: Sequence[PricedCart]) -> PricedCart | None:
    """The first, if nothing else is as cheap."""
    if not ranked or (len(ranked) > 1 and ranked[1].total == ranked[0].total):
        return None
    return ranked[0]
