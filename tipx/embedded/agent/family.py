"""The errands: buy the cheapest product of a color and a kind from a tiny shop, by two tools.

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from random import Random
from typing import TypeVar

from tipx.agents.calls import Call, HermesCalls

T = TypeVar("T")

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

HELD_OUT_LIMIT = 1024  # errands that no training set contains; the benchmark is a prefix of them
VALIDATION_LIMIT = 512  # further errands kept from training, to decide when the student is good enough


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


def errand(rng: Random) -> Errand:
    """Draw one; advances `rng`."""
    color, item = pick(rng, COLORS), pick(rng, ITEMS)
    size, count = between(rng, *PRODUCTS), between(rng, *MATCHES)
    names, prices = list(NAMES), list(range(PRICES[0], PRICES[1] + 1))
    made: list[Product] = []
    for place in range(size):
        kind = (color, item) if place < count else other(rng, color, item)
        made.append(Product(drawn(rng, names), *kind, drawn(rng, prices)))
    return Errand(color, item, tuple(drawn(rng, made) for _ in range(size)))


def other(rng: Random, color: str, item: str) -> tuple[str, str]:
    """Of the same kind in another color, or of the same color and another kind."""
    if rng.random() < 0.5:
        return pick(rng, [c for c in COLORS if c != color]), item
    return color, pick(rng, [i for i in ITEMS if i != item])


def worked(task: Errand, rng: Random) -> list[str]:
    """The three turns of one perfect trajectory, with thoughts; advances `rng`."""
    found, best = task.matches, task.answer
    wanted = f"{task.color} {task.item}"
    looking = f"{weighted(rng, OPENINGS)} {wanted} ."
    weighing, least = [f"{found[0].name} {found[0].price} ."], found[0]
    for product in found[1:]:
        verdict = "less" if product.price < least.price else "more"
        shown = f"{product.name} {product.price}"
        judged = f"{shown} is {verdict}" if rng.random() < JUDGED_AFTER else f"{verdict} is {shown}"
        weighing.append(f"{weighted(rng, CONNECTORS)} {judged} .")
        least = min(least, product, key=lambda p: p.price)
    search, add = (HermesCalls().write([call]) for call in calls(task))
    closing = weighted(rng, CLOSINGS).format(best.name, best.price)
    return [f"{looking}\n{search}", f"{' '.join(weighing)} take {best.name} .\n{add}", closing]


def calls(task: Errand) -> tuple[Call, Call]:
    """What a perfect trajectory asks the tools for, a turn each."""
    search = Call("search_products", {"query": f"{task.color} {task.item}"})
    return search, Call("add_product_to_cart", {"product_id": task.answer.name})


def held_out(n: int = 256) -> list[Errand]:
    """The first `n` of the fixed benchmark, the same on every machine; ValueError past the limit."""
    return part(n, 0, HELD_OUT_LIMIT)


def validation(n: int = 256) -> list[Errand]:
    """`n` fixed errands that are in neither benchmark nor training set; ValueError past the limit."""
    return part(n, HELD_OUT_LIMIT, VALIDATION_LIMIT)


def training(seed: int) -> Iterator[Errand]:
    """Different errands for ever, none of them held out or for validation."""
    return distinct(f"tiny agent training {seed}", {one.text for one in reserved()})


def distinct(seed: str, without: set[str]) -> Iterator[Errand]:
    """A string seed goes through SHA-512, anywhere."""
    rng, seen = Random(seed), set(without)  # noqa: S311 - no secret is made
    while True:
        made = errand(rng)
        if made.text not in seen:
            seen.add(made.text)
            yield made


@cache
def reserved() -> tuple[Errand, ...]:
    return tuple(islice(distinct("tiny agent held out", set()), HELD_OUT_LIMIT + VALIDATION_LIMIT))


def part(n: int, first: int, limit: int) -> list[Errand]:
    if not 0 <= n <= limit:
        raise ValueError(f"expected a number of errands in 0..{limit}, got {n}")
    return list(reserved()[first : first + n])


# Python promises the same stream across versions for Random.random() alone, so the draws below use nothing else.
def between(rng: Random, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low + 1))


def pick(rng: Random, options: Sequence[T]) -> T:
    return options[between(rng, 0, len(options) - 1)]


def drawn(rng: Random, left: list[T]) -> T:
    """One of what is left, which is left no more."""
    return left.pop(between(rng, 0, len(left) - 1))


def weighted(rng: Random, options: Sequence[tuple[str, int]]) -> str:
    roll = rng.random() * sum(weight for _, weight in options)
    for text, weight in options:
        roll -= weight
        if roll < 0:
            return text
    return options[-1][0]  # what rounding may leave over
