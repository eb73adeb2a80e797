"""The page: its text by a parser, and in a real browser at the width of a phone."""

from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.hostile import EVERY
from tipx.errors import ConfigError, RunError
from tipx.watch.page import curve_points, render_page, save_page
from tipx.watch.state import STATES, Alert, RunRow, WatchSnapshot

CURVES = {"loss_curve": ((1, 3.0), (2, 1.0), (3, 2.0)), "accuracy_curve": ((0, 0.1), (3, 0.4))}
ROWS = tuple(
    RunRow(
        "g",
        f"tiny-{s}-0000000{i}",
        f"selector=soft_or ratio=0.2 seed={i}",
        s,
        12,
        40,
        30.0,
        56.0,
        24.0,
        0.25,
        1.5,
        0.2,
        40.0,
        **CURVES,
    )
    for i, s in enumerate(STATES)
)
ALERT = Alert(
    "process ended",
    "tiny-stopped-00000004",
    "its process ended at step 12 without saving",
    "`tipx sweep mine.yaml` continues it",
)
SEEN = WatchSnapshot(1_800_000_000.0, "runs/g", ROWS, (ALERT,), ends=1_800_000_056.0)


class Tags(HTMLParser):
    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_says_what_the_snapshot_does_and_loads_itself_again() -> None:
    text = render_page(SEEN, 2.0)
    assert '<meta http-equiv="refresh" content="2">' in text
    shown = Tags(text).text
    for words in (
        ALERT.seen,
        ALERT.advice.replace("`", ""),
        "1 running",
        "12/40",
        "0.250",
        "soft_or",
        "about 56 s left",
    ):
        assert words in shown
    assert '<meta http-equiv="refresh" content="1">' in render_page(SEEN, 0.1)
    last = render_page(SEEN, None)
    assert "refresh" not in last
    assert "nobody watches" in last
    assert "no run yet" in render_page(WatchSnapshot(0.0, "runs", (), (), note="no run yet"), 2.0)


@pytest.mark.parametrize("text", EVERY)
def test_hostile_texts(text: str) -> None:
    text = text.replace("`", "")  # what stands between two is shown as code

    def tags(words: str) -> list[tuple[str, tuple[str, ...]]]:
        row = replace(ROWS[0], group=words, run=words, label=words)
        alert = Alert("failed", words, words, words)
        return Tags(render_page(replace(SEEN, title=words, rows=(row, ROWS[1]), alerts=(alert,)), 2.0)).tags

    assert tags(text) == tags("x")


def test_nothing_from_anywhere_may_run_or_load() -> None:
    text = render_page(SEEN, 2.0)
    assert "default-src 'none'; style-src 'sha256-" in text.replace("&#39;", "'")
    assert "script" not in {tag for tag, _ in Tags(text).tags}
    assert "http" not in text.replace("http-equiv", "")


def test_a_curve_by_hand() -> None:
    # 120 by 32 units with a margin of 3: step 1 to 3, values 1 to 3, large ones above.
    assert curve_points(((1, 3.0), (2, 1.0), (3, 2.0))) == "3.0,3.0 60.0,29.0 117.0,16.0"
    assert curve_points(((1, 5.0), (2, 5.0))) == "3.0,29.0 117.0,29.0"
    assert curve_points(((1, 5.0),)) == curve_points(()) == ""
    assert curve_points(((1, -1.7e308), (2, 1.7e308))) == ""


def test_it_is_written_over_itself_alone(tmp_path: Path) -> None:
    out = tmp_path / "watch.html"
    save_page(SEEN, out, 2.0)
    save_page(SEEN, out, None)
    assert "nobody watches" in out.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["watch.html"]
    out.write_text("mine")
    with pytest.raises(RunError, match="was not made by tipx"):
        save_page(SEEN, out, 2.0)
    assert out.read_text() == "mine"
    for place in (tmp_path, tmp_path / "none" / "watch.html"):
        with pytest.raises(ConfigError, match="expected a file in a folder that exists"):
            save_page(SEEN, place, 2.0)


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """The page on a phone; fails at the end if the browser complained, or the page asked for anything but itself."""
    wrong: list[str] = []
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.on("console", lambda message: wrong.append(message.text))
    page.on("request", lambda asked: None if asked.url.startswith("file:") else wrong.append(asked.url))
    save_page(SEEN, tmp_path / "watch.html", 1.0)
    page.goto((tmp_path / "watch.html").as_uri())
    yield page
    page.close()
    assert wrong == []


def test_on_a_phone(opened: Page, tmp_path: Path) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth") == 390
    assert opened.locator("tbody tr").count() == len(STATES)
    wide = "all => all.filter((one) => one.getBoundingClientRect().right > 390.5).map((one) => one.outerHTML)"
    assert opened.eval_on_selector_all("body *", wide) == []
    # Style and curves are there, in dark colours.
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    assert opened.locator("polyline").count() == 2 * len(STATES)
    box = opened.locator("polyline").first.bounding_box()
    assert box is not None
    assert box["width"] > 50
    # It loads itself again, and shows what is there then.
    save_page(replace(SEEN, rows=ROWS[:2], title="later"), tmp_path / "watch.html", 60.0)
    expect(opened.locator("h1")).to_have_text("later", timeout=20_000)
    assert opened.locator("tbody tr").count() == 2
