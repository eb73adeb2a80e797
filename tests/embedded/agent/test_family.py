"""The errands: a fixed benchmark, and answers that are right."""

import hashlib
from random import Random

from tipx.embedded.agent.family import (
    BENCHMARK_SIZE,
    ERRANDS,
    MATCHES,
    PRICES,
    PRODUCTS,
    Errand,
    write_trajectory,
)

# Changing the generator changes the benchmark: every score published on it would then mean something else.
HELD_OUT_SHA256 = "8d3dd50339743692be41499d6b4ab21027e2aa01cc8c2a7eac62cee377ae862a"


def test_held_out_errands_never_change() -> None:
    assert BENCHMARK_SIZE == 256
    assert hashlib.sha256("\n".join(one.text for one in ERRANDS.held_out(256)).encode()).hexdigest() == HELD_OUT_SHA256


def test_a_shop_has_what_is_wanted_and_one_cheapest() -> None:
    for one in ERRANDS.held_out(256):
        assert PRODUCTS[0] <= len(one.shop) <= PRODUCTS[1]
        assert len({p.name for p in one.shop}) == len({p.price for p in one.shop}) == len(one.shop)
        assert all(PRICES[0] <= p.price <= PRICES[1] for p in one.shop)
        wanted = [p for p in one.shop if f" {p.color} {p.item} ." in one.query]
        assert MATCHES[0] <= len(wanted) <= MATCHES[1]
        assert [p.name for p in wanted if all(p.price <= q.price for q in wanted)] == [one.answer.name]


def judged(one: Errand, thought: str) -> None:
    """Every comparison of a thought is true."""
    prices = {p.name: p.price for p in one.shop}
    first, *rest, last = (sentence.split() for sentence in thought.split(" . "))
    least = int(first[1])
    for words in rest:
        price = next(prices[word] for word in words if word in prices)
        assert str(price) in words
        assert ("less" in words) == (price < least)
        assert ("more" in words) == (price > least)
        least = min(least, price)
    assert last[:1] == ["take"]
    assert prices[last[1]] == least


def test_what_a_worked_trajectory_thinks_is_true() -> None:
    rng = Random(5)
    for one in ERRANDS.held_out(100):
        looking, weighing, closing = write_trajectory(one, rng)
        assert f"{one.color} {one.item} .\n<tool_call>" in looking
        judged(one, weighing.partition("\n")[0].removesuffix(" ."))
        assert closing.endswith(" .")


def test_words_vary_and_products_do_not() -> None:
    (one,) = ERRANDS.held_out(1)
    found = [write_trajectory(one, Random(seed)) for seed in range(30)]
    assert all(len({turns[place] for turns in found}) > 2 for place in range(3))
    assert len({turns[1].partition("\n")[2] for turns in found}) == 1
