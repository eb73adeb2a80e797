"""A case as the benchmark keeps it: a folder of four files, checked before anything relies on it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tipx.deepplanning.shopping.catalogue import Catalogue, reach, searched
from tipx.deepplanning.shopping.coupons import COUPONS
from tipx.deepplanning.shopping.environment import ShoppingCase
from tipx.deepplanning.shopping.scoring import Truth
from tipx.errors import DataError

FILES = ("products.jsonl", "user_info.json", "cart.json", "validation_cases.json")
NUMBERS = ("price", "stock_quantity")


@dataclass(frozen=True)
class CaseFiles:
    """What the four files hold."""

    products: list[dict[str, Any]]
    user: dict[str, Any]
    cart: dict[str, Any]
    validation: dict[str, Any]

    @property
    def query(self) -> str:
        return str(self.validation.get("query") or "")

    @property
    def filled(self) -> bool:
        """Whether the cart holds something before anyone has shopped: what an earlier run left in it."""
        return bool(self.cart.get("items") or self.cart.get("used_coupons"))

    @property
    def unpriced(self) -> bool:
        """Whether a product has no number as its price or stock; the tools say what comes of it."""
        return not all(isinstance(reach(one, key), int | float) for one in self.products for key in NUMBERS)

    def bought(self) -> tuple[dict[str, int], dict[str, int]]:
        """(products and coupons of the answer with their quantities). Raises KeyError, TypeError, ValueError."""
        wanted = self.validation.get("ground_truth_products") or []
        products = {str(one["product_id"]): int(one.get("quantity") or 1) for one in wanted}
        coupons = dict(self.validation.get("ground_truth_coupons") or {})
        return products, {str(coupon): int(count) for coupon, count in coupons.items()}

    def case(self, where: str) -> ShoppingCase:
        """Raises DataError, naming `where`."""
        try:
            products, coupons = self.bought()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where}: the answer in {FILES[3]} cannot be read ({error!r}); {AGAIN}") from error
        if wrong := self.fault(products, coupons):
            raise DataError(f"{where}: {wrong}; {AGAIN}")
        return ShoppingCase(Catalogue(self.products), self.user, Truth(frozenset(products), coupons))

    def fault(self, products: Mapping[str, int], coupons: Mapping[str, int]) -> str | None:
        """What is wrong with the case, or None."""
        known = {product.get("product_id") for product in self.products}
        if not self.products or not all(isinstance(one, str) for one in known):
            return f"{FILES[0]}: expected products with an id each"
        if not any(searched(product) for product in self.products):
            return f"{FILES[0]}: no product has a word to be found by"
        if missing := sorted(products.keys() - known):
            return f"{FILES[3]}: the answer {missing[0]!r} is no product of {FILES[0]}"
        if unknown := sorted(coupons.keys() - set(COUPONS)):
            return f"{FILES[3]}: {unknown[0]!r} is no coupon"
        return None if self.query else f"{FILES[3]}: has no query"


AGAIN = "fetch the data again: tipx data pull deepplanning"


def read(folder: Path) -> CaseFiles:
    """Raises DataError for what is missing or no JSON."""
    products = [parsed(line, folder / FILES[0]) for line in text(folder / FILES[0]).splitlines() if line.strip()]
    return CaseFiles(products, *(parsed(text(folder / name), folder / name) for name in FILES[1:]))


def text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); {AGAIN}") from error


def parsed(line: str, file: Path) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is not valid JSON ({error}); {AGAIN}") from error
    if not isinstance(value, dict):
        raise DataError(f"{file}: expected a JSON object, got {type(value).__name__}; {AGAIN}")
    return value
