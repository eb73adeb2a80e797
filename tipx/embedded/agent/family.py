"""The agents' task family, errands: buy the cheapest product of a color and a kind from a tiny shop, by two tools.

An errand and one of its worked trajectories, where every word, digit and mark of JSON is one token::

    user       buy the cheapest red cup .
    assistant  look for a red cup . <tool_call> {"name": "search_products", "arguments": {"query": "red cup"}} ...
    tool       dax 47 , wug 31 , blick 52
    assistant  dax 47 . then wug 31 is less . so more is blick 52 . take wug . <tool_call> ... "product_id": "wug" ...
    tool       wug 31 .
    assistant  got wug for 31 .

Names are given to products anew in each errand and prices are drawn, so nobody can know either without reading what a
tool said. Openings, connectors, styles and closings are drawn at random and change nothing: some tokens have entropy
that has nothing to do with being right. Everything here is a pure function of its seed.
"""

import hashlib
from dataclasses import dataclass
from random import Random

from tipx.agents.calls import Call, HermesCalls
from tipx.embedded.draws import ProblemSets, draw_and_remove, draw_between, draw_from, draw_weighted

COLORS = ("red", "blue", "green", "black", "white", "grey")
ITEMS = ("cup", "hat", "bag", "lamp", "chair", "coat", "rug", "vase")
NAMES = (
    *("dax", "wug", "blick", "zorp", "fep", "kiv", "mool", "nax"),
    *("pim", "quib", "rond", "snee", "tark", "ulf", "vim", "yole"),
)
PRODUCTS = (4, 6)  # of a shop, both ends included
MATCHES = (2, 3)  # of them what is asked for
PRICES = (10, 99)
# Each with its weight in percent: uneven on purpose, so that there is a distribution to learn.
OPENINGS = (("look for a", 40), ("first find a", 25), ("search a", 20), ("need a", 15))
CONNECTORS = (("then", 32), ("so", 22), ("now", 16), ("next", 14), ("so now", 10), ("and then", 6))
CLOSINGS = (("done .", 40), ("bought {} .", 30), ("got {} for {} .", 20), ("all done .", 10))
JUDGED_AFTER = 0.6  # probability of "wug 31 is less" rather than "less is wug 31"

BENCHMARK_SIZE = 256  # errands: the first of those that are held out


@dataclass(frozen=True, slots=True)
class Product:
    """What a shop has; `price` is in whole yuan."""

    name: str
    color: str
    item: str
    price: int


@dataclass(frozen=True, slots=True)
class Errand:
    """What is wanted, and the shop in its own order."""

    color: str
    item: str
    shop: tuple[Product, ...]

    @property
    def query(self) -> str:
        return f"buy the cheapest {self.color} {self.item} ."

    @property
    def text(self) -> str:
        """All that tells it from others: many errands have one query."""
        return f"{self.query} {' , '.join(f'{p.name} {p.color} {p.item} {p.price}' for p in self.shop)}"

    @property
    def id(self) -> str:
        return f"tiny_agent/{hashlib.sha256(self.text.encode()).hexdigest()[:12]}"

    @property
    def matches(self) -> list[Product]:
        return [p for p in self.shop if (p.color, p.item) == (self.color, self.item)]

    @property
    def answer(self) -> Product:
        return min(self.matches, key=lambda p: p.price)


def draw_errand(rng: Random) -> Errand:
    """Draw one errand; advances `rng`."""
    color, item = draw_from(rng, COLORS), draw_from(rng, ITEMS)
    size, count = draw_between(rng, *PRODUCTS), draw_between(rng, *MATCHES)
    names, prices = list(NAMES), list(range(PRICES[0], PRICES[1] + 1))
    products: list[Product] = []
    for place in range(size):
        kind = (color, item) if place < count else draw_other_kind(rng, color, item)
        products.append(Product(draw_and_remove(rng, names), *kind, draw_and_remove(rng, prices)))
    return Errand(color, item, tuple(draw_and_remove(rng, products) for _ in range(size)))


def draw_other_kind(rng: Random, color: str, item: str) -> tuple[str, str]:
    """Draw the same item in another color, or another item of the same color; advances `rng`."""
    if rng.random() < 0.5:
        return draw_from(rng, [c for c in COLORS if c != color]), item
    return color, draw_from(rng, [i for i in ITEMS if i != item])


ERRANDS = ProblemSets("tiny agent", draw_errand, lambda errand: errand.text, held_out_limit=1024, validation_limit=512)


def write_trajectory(errand: Errand, rng: Random) -> list[str]:
    """Return the three turns of one perfect trajectory, with thoughts; advances `rng`."""
    matches, best = errand.matches, errand.answer
    opening = f"{draw_weighted(rng, OPENINGS)} {errand.color} {errand.item} ."
    thoughts, cheapest = [f"{matches[0].name} {matches[0].price} ."], matches[0]
    for product in matches[1:]:
        verdict = "less" if product.price < cheapest.price else "more"
        shown = f"{product.name} {product.price}"
        judged = f"{shown} is {verdict}" if rng.random() < JUDGED_AFTER else f"{verdict} is {shown}"
        thoughts.append(f"{draw_weighted(rng, CONNECTORS)} {judged} .")
        cheapest = min(cheapest, product, key=lambda p: p.price)
    search, add = (HermesCalls().write([call]) for call in list_calls(errand))
    closing = draw_weighted(rng, CLOSINGS).format(best.name, best.price)
    return [f"{opening}\n{search}", f"{' '.join(thoughts)} take {best.name} .\n{add}", closing]


def list_calls(errand: Errand) -> tuple[Call, Call]:
    """Return the calls of a perfect trajectory, one a turn."""
    search = Call("search_products", {"query": f"{errand.color} {errand.item}"})
    return search, Call("add_product_to_cart", {"product_id": errand.answer.name})
