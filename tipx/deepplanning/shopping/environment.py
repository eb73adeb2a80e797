"""The world of one trajectory: the case's products, the user, and a cart of its own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tipx.deepplanning.shopping.arguments import ToolError, shown
from tipx.deepplanning.shopping.cart import CHANGES, Cart
from tipx.deepplanning.shopping.catalogue import Catalogue
from tipx.deepplanning.shopping.lookups import LOOKUPS, get_user_info
from tipx.deepplanning.shopping.schemas import REQUIRED
from tipx.deepplanning.shopping.scoring import Truth, score


@dataclass(frozen=True)
class ShoppingCase:
    """What trajectories share, none of which changes it."""

    shop: Catalogue
    user: Mapping[str, Any]
    truth: Truth


class ShoppingEnvironment:
    """See `tipx.agents.task.Environment`."""

    def __init__(self, case: ShoppingCase, follow_up: str) -> None:
        self.case = case
        self.cart = Cart(case.shop, case.user)
        self.pending: str | None = follow_up

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        try:
            answer = self.answer(name, arguments)
        except ToolError as refused:
            answer = refused.answer
        # Half a surrogate pair is text to Python and to JSON, and to no tokenizer.
        return json.dumps(answer, ensure_ascii=False, indent=2).encode("utf-8", "replace").decode()

    def answer(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ToolError."""
        if not isinstance(name, str) or name not in REQUIRED:
            raise ToolError(f"no tool has the name {shown(name)}")
        if not isinstance(arguments, Mapping):
            raise ToolError(f"expected an object of arguments, got {shown(arguments)}")
        if missing := [key for key in REQUIRED[name] if key not in arguments]:
            raise ToolError(f"{missing[0]}: must be given")
        if name in CHANGES:
            return CHANGES[name](self.cart, arguments)
        if name in LOOKUPS:
            return LOOKUPS[name](self.case.shop, arguments)
        return get_user_info(self.case.user, arguments)

    def follow_up(self) -> str | None:
        """Once: the user asks to look at the cart again."""
        message, self.pending = self.pending, None
        return message

    def score(self, text: str, *, complete: bool) -> dict[str, float]:
        """Of the cart; the text counts nothing."""
        return score(self.case.truth, self.cart.items, self.cart.coupons, complete=complete)
