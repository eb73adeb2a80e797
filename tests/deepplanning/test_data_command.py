"""`tipx data check deepplanning` and `tipx data pull deepplanning`, as a user types them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import call


@pytest.fixture
def tipx(tmp_path: Path) -> Callable[..., Any]:
    return partial(call, tmp_path)


def test_pull_and_check(tipx: Callable[..., Any], data: Path) -> None:
    before = tipx("data", "check", "deepplanning", f"eval.path={data}")
    assert before.code == 0
    assert before.out.count(" no ") == 5
    assert "math500" not in before.out
    done = tipx("data", "pull", "deepplanning", f"eval.path={data}")
    assert done.code == 0, done.err
    assert f"shopping_l1: {data / 'database_level1'}" in done.out
    lines = [
        line for line in tipx("data", "check", "deepplanning", f"eval.path={data}").out.splitlines() if "yes" in line
    ]
    assert [line.split()[0] for line in lines] == [
        f"deepplanning/{name}" for name in ("travel_en", "travel_zh", "shopping_l1", "shopping_l2", "shopping_l3")
    ]
    assert "offline" in lines[0]


def test_a_misspelt_override_is_refused(tipx: Callable[..., Any]) -> None:
    done = tipx("data", "check", "deepplanning", "eval.paht=x")
    assert (done.code, "paht" in done.err) == (2, True)


def test_all_are_checked_where_none_is_named(tipx: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = tipx("data", "check", "eval.path=empty")
    assert "deepplanning/shopping_l3" in done.out
    assert "math500" in done.out


def test_a_name_that_is_none(tipx: Callable[..., Any]) -> None:
    done = tipx("data", "check", "deeplpanning")
    assert (done.code, "deepplanning" in done.err) == (2, True)


def test_what_is_wrong_is_said(tipx: Callable[..., Any], data: Path) -> None:
    (data / "database_level3.tar.gz").write_bytes(b"no archive")
    done = tipx("data", "pull", "deepplanning", f"eval.path={data}")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "is broken" in done.err or "not unpacked" in done.err
    done = tipx("data", "pull", "deepplanning", "eval.path=elsewhere")
    assert (done.code, "hf download" in done.err) == (2, True)


def test_a_journey_without_a_table_is_named(tipx: Callable[..., Any], data: Path) -> None:
    assert tipx("data", "pull", "deepplanning", f"eval.path={data}").code == 0
    (data / "database_zh" / "id_7" / "hotels" / "hotels.csv").unlink()
    said = tipx("data", "check", "deepplanning", f"eval.path={data}").err
    assert f"travel_zh: {data / 'database_zh' / 'id_7' / 'hotels' / 'hotels.csv'} is missing" in said
    assert tipx("data", "pull", "deepplanning", f"eval.path={data}").code == 0
    assert "is missing" not in tipx("data", "check", "deepplanning", f"eval.path={data}").err
