"""A shopping case as an agent is given it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tipx.agents.task import Message
from tipx.deepplanning.shopping import prompts
from tipx.deepplanning.shopping.environment import ShoppingCase, ShoppingEnvironment
from tipx.deepplanning.shopping.schemas import TOOLS
from tipx.deepplanning.shopping.scoring import HEADLINE

LEVELS = (1, 2, 3)
Turn = str | list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Wording:
    """What the model reads besides the query: ours, or the benchmark's from the user's checkout."""

    system: Mapping[int, str] = field(default_factory=lambda: prompts.SYSTEM)
    follow_up: str = prompts.FOLLOW_UP
    tools: Sequence[dict[str, Any]] = field(default_factory=lambda: TOOLS)


OURS = Wording()


@dataclass(frozen=True)
class ShoppingTask:
    """See `tipx.agents.task.Task`."""

    id: str
    slice: str
    level: int
    query: str
    case: ShoppingCase
    steps: tuple[Turn, ...]
    """The turns of a perfect trajectory."""
    wording: Wording = OURS
    headline: str = HEADLINE

    @property
    def answer(self) -> str:
        """What the best cart holds, as JSON."""
        truth = self.case.truth
        return json.dumps([sorted(truth.products), truth.coupons], sort_keys=True, ensure_ascii=False)

    @property
    def messages(self) -> list[Message]:
        return [
            {"role": "system", "content": self.wording.system[self.level]},
            {"role": "user", "content": self.query},
        ]

    @property
    def tools(self) -> list[dict[str, Any]]:
        return list(self.wording.tools)

    def start(self) -> ShoppingEnvironment:
        return ShoppingEnvironment(self.case, self.wording.follow_up)

    def gold(self) -> list[Turn] | None:
        return list(self.steps)


def buying(products: Sequence[str], coupons: Mapping[str, int]) -> list[tuple[str, dict[str, Any]]]:
    """The calls that fill a cart."""
    adding: list[tuple[str, dict[str, Any]]] = [("add_product_to_cart", {"product_id": one}) for one in products]
    using = [("add_coupon_to_cart", {"coupon_name": c, "quantity": count}) for c, count in coupons.items()]
    return adding + using
