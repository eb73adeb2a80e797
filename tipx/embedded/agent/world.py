"""An errand as an agent is given it: DeepPlanning's shopping with two of its tools, and short answers.

The cart and its score are the benchmark's own; the search is not, which finds nothing in a shop of six products, and
neither are the tools' answers, which are a few words instead of a page of JSON.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tipx.agents.task import Message
from tipx.deepplanning.shopping.arguments import ToolError, given
from tipx.deepplanning.shopping.cart import Cart
from tipx.deepplanning.shopping.catalogue import Catalogue
from tipx.deepplanning.shopping.schemas import TOOLS
from tipx.deepplanning.shopping.scoring import HEADLINE, Truth, score
from tipx.embedded.agent.family import Errand, Product, list_calls
from tipx.types import Prompt

NAMES = ("search_products", "add_product_to_cart")
OFFERED = [tool for tool in TOOLS if tool["function"]["name"] in NAMES]
STOCK = 9  # of every product


class Shop:
    """See `tipx.agents.task.Environment`."""

    def __init__(self, errand: Errand) -> None:
        self.errand = errand
        self.cart = Cart(Catalogue([described(product) for product in errand.shop]), {})

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        if name not in NAMES:
            return error("no such tool")
        try:
            return self.search(given(arguments, "query")) if name == NAMES[0] else self.add(arguments)
        except ToolError:
            return error("no such product" if isinstance(arguments.get("product_id"), str) else "no such argument")

    def search(self, query: str) -> str:
        """Name and price of every product that each of the words describes, in the shop's order."""
        words = set(query.split())
        found = [listed(p) for p in self.errand.shop if words and words <= {p.color, p.item}]
        return " , ".join(found) or "none"

    def add(self, arguments: Mapping[str, Any]) -> str:
        """Raises ToolError."""
        self.cart.add_product_to_cart(arguments)
        name = arguments["product_id"]
        return next(f"{listed(product)} ." for product in self.errand.shop if product.name == name)

    def follow_up(self) -> str | None:
        """The user says nothing more."""
        return None

    def score(self, text: str, *, complete: bool) -> dict[str, float]:
        """Of the cart; the text counts nothing."""
        truth = Truth(frozenset({self.errand.answer.name}), {})
        return score(truth, self.cart.items, self.cart.coupons, complete=complete)


def described(product: Product) -> dict[str, Any]:
    """As the benchmark's cart knows products."""
    return {"product_id": product.name, "name": product.name, "price": product.price, "stock_quantity": STOCK}


def listed(product: Product) -> str:
    return f"{product.name} {product.price}"


def error(text: str) -> str:
    return json.dumps({"error": text})


@dataclass(frozen=True)
class ErrandTask:
    """See `tipx.agents.task.Task`."""

    errand: Errand

    @property
    def id(self) -> str:
        return self.errand.id

    @property
    def slice(self) -> str:
        """How many products are to be compared."""
        return f"of_{len(self.errand.matches)}"

    @property
    def headline(self) -> str:
        return HEADLINE

    @property
    def messages(self) -> list[Message]:
        return [{"role": "user", "content": self.errand.query}]

    @property
    def tools(self) -> list[dict[str, Any]]:
        return list(OFFERED)

    def start(self) -> Shop:
        return Shop(self.errand)

    def gold(self) -> list[str | list[tuple[str, dict[str, Any]]]] | None:
        return [*([(call.name, call.arguments)] for call in list_calls(self.errand)), "done ."]


def to_prompt(errand: Errand) -> Prompt:
    return Prompt(errand.id, errand.text, task=ErrandTask(errand))
