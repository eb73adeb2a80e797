"""An errand as an agent meets it: what tools answer, and how a cart scores."""

import json
from typing import Any

import pytest

from tipx.agents.task import Environment, Task
from tipx.embedded.agent.family import ERRANDS, Errand, Product
from tipx.embedded.agent.world import OFFERED, ErrandTask, to_prompt

SHOP = (
    Product("dax", "red", "cup", 47),
    Product("kiv", "blue", "cup", 12),
    Product("wug", "red", "cup", 31),
    Product("fep", "red", "hat", 20),
)
TASK = ErrandTask(Errand("red", "cup", SHOP))


def scored(*products: str) -> dict[str, float]:
    world = TASK.start()
    for name in products:
        world.call("add_product_to_cart", {"product_id": name})
    return world.score("", complete=True)


def test_it_is_what_agents_are_given() -> None:
    assert isinstance(TASK, Task)
    assert isinstance(TASK.start(), Environment)
    assert TASK.messages == [{"role": "user", "content": "buy the cheapest red cup ."}]
    assert [tool["function"]["name"] for tool in TASK.tools] == ["search_products", "add_product_to_cart"]
    assert (TASK.slice, TASK.headline) == ("of_2", "case_score")
    assert to_prompt(TASK.errand).text.startswith("buy the cheapest red cup . dax red cup 47 , kiv blue cup 12")


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("red cup", "dax 47 , wug 31"),
        ("cup", "dax 47 , kiv 12 , wug 31"),
        ("cup cup", "dax 47 , kiv 12 , wug 31"),
        ("black cup", "none"),
        (" ", "none"),
        ("dax", "none"),
    ],
)
def test_search(query: str, answer: str) -> None:
    assert TASK.start().call("search_products", {"query": query}) == answer


@pytest.mark.parametrize(
    ("cart", "case", "exact"),
    [((), 0, 0), (("dax",), 0, 0), (("wug",), 1, 1), (("wug", "wug"), 1, 1), (("dax", "wug"), 1, 0)],
)
def test_score(cart: tuple[str, ...], case: float, exact: float) -> None:
    found = scored(*cart)
    assert (found["case_score"], found["exact"]) == (case, exact)


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("get_cart_info", {}, "no such tool"),
        ("search_products", {}, "no such argument"),
        ("search_products", {"query": 3}, "no such argument"),
        ("search_products", {"query": "cup" * 10**6}, "no such argument"),
        ("add_product_to_cart", {"query": "wug"}, "no such argument"),
        ("add_product_to_cart", {"product_id": "cup"}, "no such product"),
        ("add_product_to_cart", {"product_id": ["wug"]}, "no such argument"),
        ("add_product_to_cart", {"product_id": "wug", "quantity": -1}, "no such product"),
    ],
)
def test_what_a_model_does_wrong_is_answered(name: str, arguments: dict[str, Any], answer: str) -> None:
    world = TASK.start()
    assert json.loads(world.call(name, arguments)) == {"error": answer}
    assert not world.cart.items


def test_two_trajectories_share_no_cart() -> None:
    one, other = TASK.start(), TASK.start()
    one.call("add_product_to_cart", {"product_id": "wug"})
    assert not other.cart.items
    assert one.follow_up() is None


def test_gold_solves_every_held_out_errand() -> None:
    for errand in ERRANDS.held_out(256):
        world = ErrandTask(errand).start()
        for turn in ErrandTask(errand).gold() or []:
            for name, arguments in [] if isinstance(turn, str) else turn:
                world.call(name, arguments)
        assert world.score("", complete=True)["exact"] == 1


def test_the_tools_are_the_benchmarks_own() -> None:
    assert len(OFFERED) == 2
    assert all(tool["function"]["parameters"]["required"] for tool in OFFERED)
