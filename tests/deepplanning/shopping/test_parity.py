"""Our tools and scores against the benchmark's, where the user has a checkout of it (TIPX_DEEPPLANNING_DIR)."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.deepplanning.conftest import put
from tipx.deepplanning.official import CHECKOUT, checkouts
from tipx.deepplanning.shopping.coupons import COUPONS
from tipx.deepplanning.shopping.environment import ShoppingEnvironment
from tipx.deepplanning.shopping.lookups import OPERATORS
from tipx.deepplanning.shopping.sample import CASES, files, tasks
from tipx.deepplanning.shopping.schemas import REQUIRED, TOOLS
from tipx.deepplanning.shopping.task import LEVELS, ShoppingTask
from tipx.deepplanning.shopping.transport import PROVINCE

ROOTS = [root for root in checkouts() if (root / "shoppingplanning").is_dir()]
pytestmark = [
    pytest.mark.skipif(not ROOTS, reason=f"parity with the benchmark was not run: {CHECKOUT} names no checkout of it"),
    pytest.mark.skipif(not find_spec("rank_bm25"), reason="parity was not run: pip install rank-bm25, which it needs"),
]
Ask = Callable[..., Any]
CALLS = 600
ODD: list[dict[str, Any]] = [
    {},
    {"stock_quantity": 3},
    {"price": 5.0},
    {"price": None, "stock_quantity": 3},
    {"price": "12.5", "stock_quantity": "3"},
    {"price": 5, "stock_quantity": 3.7},
    {"price": "cheap", "stock_quantity": 3},
    {"price": 5.0, "stock_quantity": "some"},
    {"price": 5.0, "stock_quantity": None},
    {"price": [1], "stock_quantity": 3},
    {"price": 5.0, "stock_quantity": 1e999},
]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    worker = Path(__file__).with_name("official_worker.py")
    # -B: nothing is written into the checkout.
    command = [sys.executable, "-B", str(worker), str(ROOTS[0])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdin
        assert process.stdout
        pipe_in, pipe_out = process.stdin, process.stdout

        def one(**asked: Any) -> Any:
            pipe_in.write(json.dumps(asked) + "\n")
            pipe_in.flush()
            return json.loads(pipe_out.readline())

        yield one
        pipe_in.close()


def some(rng: Random, options: list[Any], most: int = 4) -> list[Any]:
    return [rng.choice(options) for _ in range(rng.randint(0, most))]


def arguments(rng: Random, name: str, task: ShoppingTask) -> dict[str, Any]:
    """What a model might write for a tool: mostly right, sometimes not."""
    products = task.case.shop.products
    ids = [product["product_id"] for product in products]
    owned = list(task.case.user["coupons"]) or list(COUPONS)
    odd = ["", None, 0, -1, 3, 2.5, "XL", "nothing", True, [], ["M"], "0" * 8]
    fit: dict[str, Callable[[], Any]] = {
        "query": lambda: " ".join(rng.sample([*rng.choice(products)["name"].split(), "Green", "moss", "in"], 2)),
        "limit": lambda: rng.choice([1, 3, 20, 0, -1, None]),
        "product_ids": lambda: rng.choice([None, [], some(rng, ids, 30), [*some(rng, ids), "ffffffff"]]),
        "brand_names": lambda: some(rng, [product["brand"].upper() for product in products]),
        "colors": lambda: some(rng, [product["color"] for product in products] + ["moss green"]),
        "sizes": lambda: rng.choice([["M"], ["s", "XL"], "M", "XL"]),
        "coupon_names": lambda: some(rng, [*COUPONS], 2),
        "condition_key": lambda: rng.choice(["price", "rating.average_score", "rating.distribution.1_star", "no.such"]),
        "operator": lambda: rng.choice([*OPERATORS, "=", "=>"]),
        "value": lambda: rng.choice([200, 4.3, "300", "abc", 1e9]),
        "sort_by": lambda: rng.choice(["price", "NAME", "rating.average_score", "sales_volume", "no.such"]),
        "order": lambda: rng.choice(["asc", "desc", "ASC", "up"]),
        "product_id": lambda: rng.choice([*task.case.truth.products, *ids[:5], "ffffffff"]),
        "destination_address": lambda: rng.choice(
            [*PROVINCE, "Zhejiang Province", "Zhejiang Hangzhou", "Inner Mongolia"]
        ),
        "provider": lambda: "sf_express",
        "user_id": lambda: rng.choice([task.case.user["user_id"], "user_0", ""]),
        "quantity": lambda: rng.choice([1, 1, 2, 0, -1, 0.5, 1.9, "2", 400]),
        "coupon_name": lambda: rng.choice([*owned, *COUPONS[:2], "No such"]),
    }
    schema = {entry["function"]["name"]: entry["function"]["parameters"]["properties"] for entry in TOOLS}[name]
    keys = [key for key in schema if rng.random() < (0.95 if key in REQUIRED[name] else 0.6)]
    return {key: fit[key]() if rng.random() < 0.93 else rng.choice(odd) for key in keys}


@pytest.mark.parametrize("at", range(len(LEVELS) * CASES))
def test_tools_and_scores_agree(at: int, ask: Ask, tmp_path: Path) -> None:
    level, number = LEVELS[at // CASES], at % CASES + 1
    task = tasks()[at]
    folder = str(put(tmp_path / "case_1", files(level, number)[0]))
    rng, world = Random(at), task.start()
    for _ in range(CALLS):
        name = rng.choice([*REQUIRED, "add_product_to_cart", "add_coupon_to_cart", "add_coupon_to_cart"])
        given = arguments(rng, name, task)
        theirs, ours = ask(folder=folder, name=name, arguments=given), world.call(name, given)
        if "error" in json.loads(theirs):
            assert set(json.loads(ours)) == set(json.loads(theirs)), (name, given, theirs)
        else:
            assert ours == theirs, (name, given)
        if rng.random() < 0.05:
            check_score(ask(folder=folder), world.score("", complete=False))


def check_score(theirs: dict[str, Any], ours: dict[str, float]) -> None:
    same = {"case_score": "case_score", "match_rate": "score", "matched": "matched_count", "expected": "expected_count"}
    same |= {"extra_products": "extra_products_count"}
    assert {key: ours[key] for key in same} == {key: theirs[other] for key, other in same.items()}


@pytest.mark.parametrize("at", range(len(LEVELS) * CASES))
def test_gold_solves_the_case_by_their_tools_too(at: int, ask: Ask, tmp_path: Path) -> None:
    level, number = LEVELS[at // CASES], at % CASES + 1
    folder = put(tmp_path / "case_1", files(level, number)[0])
    (folder / "messages.json").write_text(json.dumps({"messages": [{"role": "assistant", "content": "done"}]}))
    for turn in tasks()[at].steps:
        for name, given in turn if isinstance(turn, list) else []:
            assert "error" not in json.loads(ask(folder=str(folder), name=name, arguments=given))
    result = ask(folder=str(folder))
    assert (result["case_score"], result["is_completed"], result["extra_products_count"]) == (1.0, True, 0)


def test_an_empty_answer_scores_the_same(ask: Ask, tmp_path: Path) -> None:
    held, _ = files(1, 1)
    held.validation.update(ground_truth_products=[], ground_truth_coupons={})
    folder = str(put(tmp_path / "case_1", held))
    theirs, ours = ask(folder=folder), held.case("x")
    assert (theirs["case_score"], theirs["score"]) == (1.0, 0.0)
    assert ours.truth.products == frozenset()


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_products_without_numbers_are_treated_the_same(odd: dict[str, Any], ask: Ask, tmp_path: Path) -> None:
    held, _ = files(1, 1)
    first, second = (held.products[at]["product_id"] for at in (0, 1))
    kept = {key: value for key, value in held.products[0].items() if key not in ("price", "stock_quantity")}
    held.products[0] = kept | odd
    folder, world = str(put(tmp_path / "case_1", held)), ShoppingEnvironment(held.case("x"), "")
    for name, given in [
        ("add_product_to_cart", {"product_id": second}),
        ("add_product_to_cart", {"product_id": first}),
        ("add_product_to_cart", {"product_id": first, "quantity": 2}),
        ("sort_products", {"sort_by": "price", "product_ids": [second, first]}),
        ("filter_by_range", {"condition_key": "price", "operator": ">", "value": 1}),
        ("filter_by_range", {"condition_key": "stock_quantity", "operator": ">=", "value": 0}),
        ("get_product_details", {"product_ids": [first]}),
        ("get_cart_info", {}),
        ("delete_product_from_cart", {"product_id": first}),
    ]:
        theirs, ours = ask(folder=folder, name=name, arguments=given), world.call(name, given)
        if "error" in json.loads(theirs):
            assert set(json.loads(ours)) == set(json.loads(theirs)), (name, given, theirs)
        else:
            assert ours == theirs, (name, given)


@pytest.mark.parametrize(
    "address", ["", "x", "北京", "zhejianghangzhou", "Hubei City", "Tibet", "Macau", "innermongolia"]
)
def test_provinces_are_read_the_same(address: str, ask: Ask, tmp_path: Path) -> None:
    folder = str(put(tmp_path / "case_1", files(1, 1)[0]))
    world = tasks()[0].start()
    for product in tasks()[0].case.shop.products[:12]:
        given = {"product_id": product["product_id"], "destination_address": address}
        theirs = json.loads(ask(folder=folder, name="calculate_transport_time", arguments=given))
        ours = json.loads(world.call("calculate_transport_time", given))
        assert ours == theirs or ("error" in ours and "error" in theirs)
