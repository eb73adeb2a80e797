"""Text of others in Markdown stays text."""

import re

import pytest
from markdown_it import MarkdownIt

from tests.hostile import EVERY
from tipx.display.console import COMMANDS
from tipx.display.markdown import escape_markdown
from tipx.inspect.tokens import code
from tipx.report.spec import available, load

PLAIN = [
    "soft_or 0.5",
    "q3_only",
    "runs/a_b/_c/tiny-full-00000000",
    "p < 0.05",
    "'\\n\\nPut it within \\\\boxed{}.'",
    "[0.1, 0.2]",
    "-0.5",
    "1e-4",
    "79.1 ± 0.8",
    "Qwen/Qwen3-8B",
    "#3",
    "a~b",
]
ACTIVE = {"link_open", "image", "html_inline", "html_block", "heading_open", "code_inline", "em_open", "strong_open"}


@pytest.mark.parametrize("text", PLAIN)
def test_ordinary_values_stay_as_they_are(text: str) -> None:
    assert escape_markdown(text) == text


def test_titles_of_reports_stay_as_they_are() -> None:
    for name in available(None):
        report = load(name, None)
        assert report is not None
        assert escape_markdown(report.title) == report.title


def tokens(document: str) -> list[str]:
    """The kinds of all that the document holds, by a parser that allows HTML."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
    found = parser.parse(document)
    return [one.type for token in found for one in (token, *(token.children or ()))]


@pytest.mark.parametrize("text", EVERY)
def test_nothing_of_it_becomes_active(text: str) -> None:
    line = escape_markdown(text)
    assert "\n" not in line
    assert not COMMANDS.search(line)
    for document in (f"{line}\n", f"- {line}\n", f"x {line} [x] [y]\n"):
        assert not ACTIVE & set(tokens(document)), document


@pytest.mark.parametrize("cell", [escape_markdown, code], ids=["plain", "code"])
@pytest.mark.parametrize("text", EVERY)
def test_a_cell_stays_a_cell(text: str, cell: object) -> None:
    if cell is code:
        text = re.sub(r"[\x00-\x1f]", "", text)  # `visible` has named them before
    line = cell(text)  # type: ignore[operator]
    found = tokens(f"| a | b |\n|---|---|\n| {line} | next |\n")
    assert (found.count("tr_open"), found.count("td_open")) == (2, 2)
    assert not (ACTIVE - {"code_inline"}) & set(found)


def test_what_is_shown_is_what_it_was() -> None:
    parser = MarkdownIt("commonmark").enable("table")
    for text in ("a | b", "a \\| b", "`code`", "<b>", "[x](y)", "# heading", "end\\"):
        (inline,) = [token for token in parser.parse(f"x {escape_markdown(text)}\n") if token.type == "inline"]
        shown = "".join(child.content for child in inline.children or ())
        if "|" not in text:
            assert shown == f"x {text}"
