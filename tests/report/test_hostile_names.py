"""Names and values of somebody else in a report: in no format do they become active."""

import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from tests.hostile import EVERY
from tipx.display.console import COMMANDS
from tipx.report.formats import latex, markdown
from tipx.report.metrics import FIXED
from tipx.report.page import page
from tipx.report.spec import Report
from tipx.report.table import Column, Table

ACTIVE = {"link_open", "image", "html_inline", "html_block", "code_inline"}


def a_table(text: str) -> Table:
    """A row, a column, a title, a note and a missing run of that name; no numbers."""
    report = Report(title=text, rows=("selector",), columns=("model",))
    return Table(report, [(text,)], [Column((text,), FIXED["mean"])], {}, [], [text], [text])


@pytest.mark.parametrize("text", EVERY)
def test_markdown(text: str) -> None:
    document = markdown(a_table(text))
    assert not COMMANDS.search(document)
    found = MarkdownIt("commonmark", {"html": True}).enable("table").parse(document)
    kinds = [one.type for token in found for one in (token, *(token.children or ()))]
    assert not ACTIVE & set(kinds)
    counts = [kinds.count(kind) for kind in ("heading_open", "tr_open", "th_open", "td_open")]
    assert counts == [1, 2, 2, 2]
    assert kinds.count("list_item_open") == len(re.findall("^- ", document, re.MULTILINE))


class Tags(HTMLParser):
    def __init__(self, document: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


@pytest.mark.parametrize("text", EVERY)
def test_html(text: str) -> None:
    plain, hostile = (Tags(page(a_table(one), {}, {"table.md": one}, one)).found for one in ("x", text))
    assert hostile == plain


@pytest.mark.parametrize("text", EVERY)
def test_latex(text: str) -> None:
    plain, hostile = (latex(a_table(one)) for one in ("x", text))
    assert not COMMANDS.search(hostile)
    assert hostile.count("\n") == plain.count("\n")
    # Every mark that means something is written as a command.
    for mark in "%#$&":
        assert len(re.findall(rf"(?<!\\){re.escape(mark)}", hostile)) == len(re.findall(rf"(?<!\\)\{mark}", plain))
