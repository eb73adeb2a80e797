"""The embedded sample: the same everywhere, solved by its gold, and by nothing that is broken."""

import hashlib
import json
import subprocess
import sys
from dataclasses import asdict
from itertools import product as every
from typing import Any

import pytest

from tipx.agents.task import Environment, Task
from tipx.deepplanning.shopping import transport
from tipx.deepplanning.shopping.catalogue import reach
from tipx.deepplanning.shopping.coupons import discount, needed
from tipx.deepplanning.shopping.lookups import OPERATORS
from tipx.deepplanning.shopping.sample import CASES, Drawn, files, tasks
from tipx.deepplanning.shopping.task import LEVELS, ShoppingTask

DIGEST = "4db0222ae4056f33bcdfd8c54a4396ad377ad7e9f59f5a67004c856129fa1a63"
ALL = list(every(LEVELS, range(1, CASES + 1)))
NAMES = [f"l{level}-{number}" for level, number in ALL]
Calls = list[tuple[str, dict[str, Any]]]


def the(level: int, number: int) -> ShoppingTask:
    return tasks()[ALL.index((level, number))]


def calls(task: ShoppingTask) -> Calls:
    return [call for turn in task.steps if isinstance(turn, list) for call in turn]


def played(task: ShoppingTask, done: Calls) -> dict[str, float]:
    world = task.start()
    for name, arguments in done:
        world.call(name, arguments)
    return world.score("", complete=True)


def test_it_is_the_same_everywhere() -> None:
    made = json.dumps([asdict(files(*one)[0]) for one in ALL] + [task.steps for task in tasks()], ensure_ascii=False)
    assert hashlib.sha256(made.encode()).hexdigest() == DIGEST


def test_the_tasks_are_tasks() -> None:
    for task in tasks():
        assert isinstance(task, Task)
        assert isinstance(task.start(), Environment)
        assert (task.slice, task.headline, len(task.tools)) == ("sample", "case_score", 15)
        assert [message["role"] for message in task.messages] == ["system", "user"]
        assert len(task.case.shop.products) >= 24
    assert [task.id for task in tasks()] == [f"sample/shopping_l{level}/{number}" for level, number in ALL]


def test_no_torch() -> None:
    script = "import sys, tipx.deepplanning.shopping.sample, tipx.deepplanning.pull; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(("level", "number"), ALL, ids=NAMES)
def test_gold_scores_1_and_finds_what_it_buys(level: int, number: int) -> None:
    task, world, found = the(level, number), the(level, number).start(), ""
    for turn in task.steps:
        for name, arguments in turn if isinstance(turn, list) else []:
            answer = world.call(name, arguments)
            assert "error" not in json.loads(answer), (name, arguments)
            if name == "add_product_to_cart":
                assert arguments["product_id"] in found
            found = answer if name == "sort_products" else found
    scores = world.score("", complete=True)
    assert (scores["case_score"], scores["match_rate"], scores["exact"]) == (1, 1, 1)
    # The last text ends it: there are a text and a look at the cart between.
    assert [type(turn) for turn in task.steps[-3:]] == [str, list, str]


@pytest.mark.parametrize(("level", "number"), ALL, ids=NAMES)
def test_no_other_cart_is_as_good(level: int, number: int) -> None:
    task, (held, drawn) = the(level, number), files(level, number)
    low = int(held.query.split("between ")[1].split()[0]) if level == 2 else 0
    high = int(held.query.split(" yuan")[0].split()[-1]) if level == 2 else 10**9
    totals = {
        (tuple(one["product_id"] for one in combo), used): total
        for combo in every(*(fitting(drawn, at) for at in range(3)))
        for used, total in prices(combo, drawn.user["coupons"])
        if low <= total <= high
    }
    (best, used), second = sorted(totals, key=lambda key: totals[key])[:2]
    assert totals[best, used] < totals[second]
    assert (set(best), dict(used)) == (set(task.case.truth.products), dict(task.case.truth.coupons))
    assert totals[best, used] == played_total(task)


def fitting(drawn: Drawn, at: int) -> list[dict[str, Any]]:
    """Written again, from the words of a wish: two at least, and not the cheapest of their kind and color."""
    wish = drawn.wishes[at]
    alike = [one for one in drawn.products if one["name"].split()[-1] == wish.kind and one["color"] == wish.color]
    found = []
    for one in alike:
        ways = one["shipping_info"]["origin"].lower(), drawn.user["address"].lower(), one["shipping_info"]["provider"]
        if transport.days(*ways) <= wish.days and OPERATORS[wish.sign](reach(one, wish.path), wish.bound):
            found.append(one)
    assert len(found) >= 2
    assert min(one["price"] for one in alike) < min(one["price"] for one in found)
    return found


def prices(combo: tuple[dict[str, Any], ...], owned: dict[str, int]) -> list[tuple[tuple[tuple[str, int], ...], int]]:
    """(coupons, total) as the tools allow it."""
    base, found = sum(one["price"] for one in combo), []
    for counts in every(*(range(count + 1) for count in owned.values())):
        used = {coupon: count for coupon, count in zip(owned, counts, strict=True) if count}
        if needed(used) <= base:
            found.append((tuple(used.items()), base - discount(used)))
    return found


def played_total(task: ShoppingTask) -> float:
    world = task.start()
    for name, arguments in calls(task):
        world.call(name, arguments)
    return world.cart.total_price


@pytest.mark.parametrize("number", range(1, CASES + 1))
def test_level_3_needs_a_dearer_product_and_coupons(number: int) -> None:
    truth, (_, drawn) = the(3, number).case.truth, files(3, number)
    cheapest = {min(fitting(drawn, at), key=lambda one: one["price"])["product_id"] for at in range(3)}
    assert truth.coupons
    assert cheapest != truth.products


BUYS = {"add_product_to_cart", "add_coupon_to_cart"}


@pytest.mark.parametrize(("level", "number"), ALL, ids=NAMES)
def test_every_broken_variant_fails_what_it_should(level: int, number: int) -> None:
    task, gold = the(level, number), calls(the(level, number))
    expected = played(task, gold)["expected"]
    for at in [at for at, (name, _) in enumerate(gold) if name in BUYS]:
        fewer = played(task, gold[:at] + gold[at + 1 :])
        # Without a product its coupons may fail too; without a coupon only itself.
        assert fewer["case_score"] == 0
        assert fewer["matched"] < expected
        assert gold[at][0] == "add_product_to_cart" or fewer["matched"] == expected - 1
        assert (fewer["extra_products"], fewer["extra_coupons"]) == (0, 0)
    other = next(one for one in task.case.shop.by_id if one not in task.case.truth.products)
    more = played(task, [*gold, ("add_product_to_cart", {"product_id": other})])
    assert (more["case_score"], more["extra_products"], more["exact"]) == (1, 1, 0)
    bought = next(arguments["product_id"] for name, arguments in gold if name == "add_product_to_cart")
    wrong = played(task, [*gold, ("delete_product_from_cart", {"product_id": bought})])
    assert (wrong["case_score"], wrong["matched"], wrong["extra_products"]) == (0, expected - 1, 0)
    assert played(task, [])["match_rate"] == 0


def test_a_coupon_in_the_wrong_quantity_fails_that_coupon_alone() -> None:
    task = the(3, 1)
    world = task.start()
    for name, arguments in calls(task):
        world.call(name, arguments)
    world.call("add_product_to_cart", {"product_id": world.case.shop.products[0]["product_id"], "quantity": 5})
    same_brand = next(coupon for coupon in world.cart.coupons if coupon.startswith("Same"))
    before = world.score("", complete=True)
    assert "error" not in json.loads(world.call("add_coupon_to_cart", {"coupon_name": same_brand}))
    after = world.score("", complete=True)
    assert (before["matched"] - after["matched"], after["case_score"], after["extra_coupons"]) == (1, 0, 1)
