"""Pages opened from the disk in a real browser."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.inspect.worlds import HOSTILE, LONG, PLAIN, make_run
from tipx.inspect.job import make_page
from tipx.runs.reader import StoredRun

Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens a file; fails at the end if the page complained, or asked for anything but itself."""
    wrong: list[str] = []
    pages: list[Page] = []

    def visit(path: Path, **options: Any) -> Page:
        page = browser.new_page(viewport={"width": 1400, "height": 860}, **options)
        pages.append(page)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        return page

    yield visit
    for page in pages:
        page.close()
    assert wrong == []


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of made runs: plain, hostile, agents' old and new and all without a fault and long, and a comparison."""
    out = {}
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "tools": {"tools": True, "scores": [None] * 4},
        "agents": {"tools": True, "scores": [1.0, 0.4, 0.0, 1.0]},
        "perfect": {"tools": True, "scores": [1.0] * 4},
        "hostile": {"pieces": HOSTILE + PLAIN},
        "long": LONG,
    }
    for name, how in kinds.items():
        run = make_run(tmp_path_factory.mktemp(name), **how)
        out[name] = make_page(StoredRun(run).sampled(), [], None, None)
    words = ["selector=soft_or,q3_only,entropy_top", "ratio=0.2"]
    run = make_run(tmp_path_factory.mktemp("compare"))
    out["compare"] = make_page(StoredRun(run).sampled(), words, None, None)
    return out
