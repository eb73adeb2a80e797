"""The products of one case, read-only: every trajectory of the case may share them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tipx.deepplanning.shopping.arguments import ToolError, shown
from tipx.deepplanning.shopping.bm25 import Okapi

Product = Mapping[str, Any]
# What the search reads, in this order.
SEARCHED = (
    "brand",
    "color",
    "size",
    "thickness",
    "elasticity",
    "version_type",
    "collar_type",
    "suitable_season",
    "target_demographic",
    "name",
)
THRESHOLD = 2.0
"""What a product's score must exceed. With fewer than about 20 products no single word scores so much."""


def reach(product: Product, path: str) -> Any:
    """The value at a dotted path such as "rating.average_score"; None where there is none."""
    value: Any = product
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def searched(product: Product) -> list[str]:
    """The words that the search finds a product by."""
    return " ".join(str(product.get(key) or "") for key in SEARCHED).lower().split()


class Catalogue:
    """Products by their ids and by words."""

    def __init__(self, products: Sequence[Product]) -> None:
        self.products = tuple(products)
        self.by_id = {product["product_id"]: product for product in products}
        self.index = Okapi([searched(product) for product in products])

    def search(self, query: str) -> list[str]:
        """Ids of what scores above the threshold, best first; equals stay in the catalogue's order."""
        scores = self.index.scores(query.lower().split())
        found = [(score, product) for score, product in zip(scores, self.products, strict=True) if score > THRESHOLD]
        return [product["product_id"] for _, product in sorted(found, key=lambda pair: pair[0], reverse=True)]

    def among(self, identifiers: Sequence[str]) -> Sequence[Product]:
        """Those named, in that order, or all if none is; raises ToolError for an id that is none."""
        if unknown := [one for one in identifiers if one not in self.by_id]:
            raise ToolError(f"product_ids: no product has the id {shown(unknown[0])} ({len(unknown)} such ids)")
        return self.known(identifiers) if identifiers else self.products

    def known(self, identifiers: Sequence[str]) -> Sequence[Product]:
        """Those of the ids that there are."""
        return [self.by_id[one] for one in identifiers if one in self.by_id]


def ids(products: Sequence[Product]) -> list[str]:
    return [product["product_id"] for product in products]
