"""The page of an agent: its turns, what is not the student's, what is folded, and how it did."""

from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.inspect.looking import Open, classes, nothing_fits, of
from tests.inspect.worlds import LONG, PLAIN, make_run
from tipx.inspect.job import make_page
from tipx.inspect.quadrants import Thresholds
from tipx.runs.reader import StoredRun


def test_what_a_tool_said_is_grey_and_has_no_numbers(pages: dict[str, Path], open_page: Open) -> None:
    page = open_page(pages["tools"])
    found = classes(page)
    assert [i for i, names in enumerate(found) if "tool" in names] == [2, 3, 4]
    assert not any(names & {"q1", "q2", "q3", "q4", "kept"} for names in found[2:5])
    page.locator("#columns .t").nth(3).hover()
    assert "did not sample it" in page.locator("#details").inner_text()
    assert page.locator("#details dd").count() == 0


def test_what_is_not_the_students_is_in_the_legend_and_in_no_count(pages: dict[str, Path], open_page: Open) -> None:
    page, one = open_page(pages["tools"]), of(pages["tools"])
    kept = int((one.weights_N[:12] > 0).sum())
    assert page.locator("#counts").inner_text() == f"9 own tokens · {kept} kept · 3 not the student\u2019s"
    assert page.locator("#rollouts .row").all_inner_texts()[0].split() == ["1", "9", "tokens"]
    said = page.locator("#foreign").inner_text().split()
    assert " ".join(said) == "grey italics not the student\u2019s: tools and template 3"
    quadrants = Thresholds.of(one, 0.5, 0.5).quadrants(one)[:12]
    shares = page.locator("#legend .number").all_inner_texts()
    assert shares == [f"{100 * (quadrants == q).sum() / 9:.1f}%" for q in (2, 1, 4, 3)]
    page.locator("#columns .t").nth(6).hover()
    assert " 7 of 12 with those of tools" in page.locator("#details .head").inner_text().replace("\n", " ")
    rank = page.locator("#details dd[data-name=rank0]").inner_text()
    assert rank.endswith(" of 9")
    # Where every token is the student's nothing is said of others.
    plain = open_page(pages["plain"])
    assert not plain.locator("#foreign").is_visible()
    assert plain.locator("#counts").inner_text().startswith("12 tokens · ")


def test_each_turn_begins_on_a_new_line(pages: dict[str, Path], open_page: Open) -> None:
    page = open_page(pages["tools"])
    page.keyboard.press("j")
    turns = page.eval_on_selector_all(
        "#columns .turn",
        """all => all.map((turn) => [
            turn.firstChild.textContent, turn.querySelectorAll('.t').length, turn.getBoundingClientRect().y,
        ])""",
    )
    assert [(who, count) for who, count, _ in turns] == [("student", 2), ("environment", 3), ("student", 25)]
    tops = [y for *_, y in turns]
    assert tops == sorted(set(tops))
    for _ in range(3):  # arrows cross from turn to turn
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.i") == str(12 + 2)
    page.keyboard.press("/")
    page.keyboard.type(
        "".join(PLAIN[(12 + k) % 10] for k in (1, 2)).strip()
    )  # the last of a turn, and the tool's first
    assert [i for i, names in enumerate(classes(page)) if "hit" in names][:2] == [1, 2]
    assert open_page(pages["plain"]).locator("#columns .turn").count() == 0


def hidden(page: Page) -> list[int]:
    """Which tokens of the rollout are out of sight."""
    seen: list[bool] = page.eval_on_selector_all("#columns .t", "all => all.map((one) => one.checkVisibility())")
    return [k for k, one in enumerate(seen) if not one]


def current(page: Page) -> list[int]:
    """The token that has the focus, and those that are marked, counted over the step."""
    found: list[int] = page.evaluate(
        "() => [document.activeElement, ...document.querySelectorAll('#columns .on')].map((one) => +one.dataset.i)"
    )
    return found


FIRST, SECOND = list(range(110, 131)), list(range(180, 300))
"""What is folded of LONG: in the first two rollouts, and in the second alone."""


def test_a_long_result_is_folded(pages: dict[str, Path], open_page: Open) -> None:
    page = open_page(pages["long"])
    assert hidden(page) == FIRST
    button = page.get_by_role("button", name="… 21 more tokens", expanded=False)
    button.click()
    assert hidden(page) == []
    close = page.get_by_role("button", name="fold", exact=True, expanded=True)
    close.press("Enter")  # which holds no token then
    assert hidden(page) == FIRST
    assert "held" not in page.locator("#details").inner_text()
    assert page.locator(".fold").all_inner_texts() == ["… 21 more tokens"]


def test_all_that_is_folded_opens_and_closes_by_a_key(pages: dict[str, Path], open_page: Open) -> None:
    page = open_page(pages["long"])
    page.keyboard.press("j")
    assert "long parts" in page.locator(".keys").inner_text()
    assert page.locator(".fold").all_inner_texts() == ["… 21 more tokens", "… 120 more tokens"]
    page.locator(".fold").first.click()
    for wanted in ([], FIRST + SECOND, []):
        page.keyboard.press("o")
        assert hidden(page) == wanted
    page.keyboard.press("j")  # whose tools said little
    assert page.locator(".fold").count() == 0
    assert "long parts" not in page.locator(".keys").inner_text()
    page.keyboard.press("k")
    assert hidden(page) == FIRST + SECOND


def test_walking_into_a_folded_part_opens_it(pages: dict[str, Path], open_page: Open) -> None:
    page = open_page(pages["long"])
    page.keyboard.press("j")
    page.locator("#columns .t").nth(109).click()
    page.keyboard.press("ArrowRight")
    assert hidden(page) == SECOND
    assert current(page) == [310, 310]
    page.locator("#columns .t").nth(300).click()
    page.keyboard.press("ArrowLeft")
    assert hidden(page) == []
    assert current(page) == [499, 499]
    page.keyboard.press("Enter")
    page.mouse.move(0, 0)
    page.keyboard.press("o")  # the reader is not left in what is out of sight
    assert hidden(page) == FIRST + SECOND
    assert current(page) == [379, 379]
    assert page.locator("#columns [data-i][tabindex]").count() == 1


def test_a_hit_of_the_search_is_never_folded(pages: dict[str, Path], open_page: Open) -> None:
    page = open_page(pages["long"])
    search = page.locator("#search")
    search.fill("w109.")
    assert hidden(page) == FIRST  # a hit before it
    search.fill("w109. w110.")
    assert hidden(page) == []
    search.fill("w0.")
    assert hidden(page) == FIRST
    search.fill("w450.")  # of the second rollout
    assert page.locator("#title").inner_text() == "Rollout 2 of 3"
    assert hidden(page) == FIRST
    page.locator(".fold").first.click()
    page.keyboard.press("Escape")
    assert hidden(page) == SECOND  # what the reader opened stays
    search.fill("w450.")
    page.locator("#columns .t").nth(251).click()
    search.fill("")
    assert hidden(page) == []
    assert "held" in page.locator("#details").inner_text()


def test_the_browsers_own_search_opens_a_folded_part(pages: dict[str, Path], browser: Browser) -> None:
    page = browser.new_page()
    page.goto(pages["long"].as_uri() + "#:~:text=w120.")
    page.wait_for_selector(".fold[aria-expanded=true]", timeout=20_000)
    assert hidden(page) == []
    page.close()


def test_a_copy_lacks_nothing(pages: dict[str, Path], open_page: Open) -> None:
    page = open_page(pages["long"])
    page.evaluate(
        """() => {
            const [from, to] = [100, 132].map((k) => document.querySelectorAll('#columns .t')[k].firstChild);
            getSelection().setBaseAndExtent(from, 0, to, to.length);
        }"""
    )
    page.keyboard.press("ControlOrMeta+c")
    assert hidden(page) == []
    page.locator("#search").focus()
    page.keyboard.press("ControlOrMeta+v")
    assert page.locator("#search").input_value().split() == [f"w{k}." for k in range(100, 133)]


def test_the_columns_of_a_comparison_fold_together(tmp_path: Path, open_page: Open) -> None:
    step = StoredRun(make_run(tmp_path, **LONG)).sampled()
    page = open_page(make_page(step, ["selector=soft_or,q3_only", "ratio=0.2"], None, None))
    both = [k + column * 200 for column in (0, 1) for k in FIRST]
    assert hidden(page) == both
    for wanted in ([], both):
        page.locator(".fold").nth(1).click()
        assert hidden(page) == wanted
        assert page.locator(".fold").all_inner_texts() == ["… 21 more tokens" if wanted else "fold"] * 2
    page.locator("#search").fill("w120.")
    assert hidden(page) == []


def test_an_agent_is_judged_by_its_score(pages: dict[str, Path], open_page: Open) -> None:
    page = open_page(pages["agents"])
    assert page.locator("#grade").inner_text() == "✓ score 1"
    assert page.locator("label.judged").inner_text().split() == ["only", "scores", "below", "1", "w"]
    page.keyboard.press("w")
    assert page.locator("#rollouts li:visible").count() == 2
    assert page.locator("#title").inner_text() == "Rollout 2 of 4"
    assert page.locator("#grade").inner_text() == "✗ score 0.4"
    page.keyboard.press("j")
    assert page.locator("#counts").inner_text().startswith("4 own tokens (cut at the limit of turns) · ")


def test_no_failure_leaves_no_rollout_in_sight(pages: dict[str, Path], open_page: Open) -> None:
    page = open_page(pages["perfect"])
    page.keyboard.press("ArrowRight")
    page.keyboard.press("w")
    assert nothing_fits(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("j")
    assert page.locator("#columns .on").count() == 0
    page.keyboard.press("Escape")
    assert page.locator("#title").is_visible()
    assert page.locator("#rollouts li:visible").count() == 4


def test_without_a_verdict_there_is_nothing_to_filter_by(pages: dict[str, Path], open_page: Open) -> None:
    page = open_page(pages["tools"])
    assert not page.locator("#only-wrong").is_visible()
    assert "only wrong" not in page.locator(".keys").inner_text()
    page.keyboard.press("w")
    assert page.locator("#title").is_visible()
    assert page.locator("#rollouts li:visible").count() == 4
