"""A table at any width: its words are whole, and what it leaves out is said."""

import io

import pytest
from rich.text import Text

from tipx.display.console import UNBOUNDED, Console, console
from tipx.display.fit import FittedTable, wrap_words

NAME = "tiny-soft_or-ratio0.2-1a2b3c4d"
PATH = "/data/somebody/runs/" + NAME
PROSE = "the longest prompt has 29 tokens, a response up to 72; both fit"
BLANKS = "/data/some body/runs with blanks in the name of each/of two folders"
WIDTHS = range(1, 200)


def table() -> FittedTable:
    found = FittedTable(f"runs under {PATH}", least=("path", "note"), more="--csv", caption=f"as in {PATH}")
    for name, whole in (("run", True), ("after, %", True), ("note", False), ("path", True)):
        found.add_column(name, justify="right" if "after" in name else "left", no_wrap=whole)
    found.add_row(NAME, "12.5 ± 0.1", PROSE, PATH)
    found.add_row("short", "-", Text("漢字 and letters", "bold"), BLANKS)
    return found


def printed(width: int, what: object | None = None) -> str:
    file = io.StringIO()
    Console(file=file, width=width, markup=False).print(table() if what is None else what)
    return file.getvalue()


def words(text: str) -> set[str]:
    text = text.partition("not shown:")[0] + text.partition("shows all")[2]
    return {word for word in text.split() if set(word) != {"─"}}


def test_every_word_is_whole_at_any_width() -> None:
    whole = words(printed(400))
    for width in WIDTHS:
        assert words(printed(width)) <= whole, width


def test_a_name_with_blanks_is_in_one_line_of_a_table() -> None:
    tables = [text for width in WIDTHS if "─" in (text := printed(width))]
    assert len(tables) > 100
    for text in tables:
        assert NAME in text
        assert BLANKS in text or "not shown: path" in text


def test_no_line_is_wider_than_the_terminal_but_for_one_word() -> None:
    for width in WIDTHS:
        for line in printed(width).splitlines():
            assert len(line.rstrip()) <= width or len(line.split()) <= 2 or width < 40, width


def test_all_is_there_where_there_is_room() -> None:
    text = printed(200)
    assert "not shown" not in text
    for value in (NAME, PATH, PROSE, "12.5 ± 0.1", BLANKS):
        assert value in text


def test_prose_is_wrapped_before_a_column_is_left_out() -> None:
    lines = printed(150).splitlines()
    assert not [line for line in lines if "not shown" in line or PROSE in line]
    assert PATH in printed(150)


def test_columns_are_left_out_in_order_and_it_is_said() -> None:
    assert "not shown: path; a wider terminal or --csv shows all" in printed(80)
    assert "12.5 ± 0.1  the longest prompt has" in printed(80)
    said = " ".join(printed(50).split())
    assert "not shown: path, note; a wider terminal or --csv shows all" in said
    assert f"{NAME} 12.5 ± 0.1" in said


def test_rows_become_lines_with_everything() -> None:
    lines = [line.rstrip() for line in printed(40).splitlines()]
    start = lines.index(f"run       {NAME}")
    assert lines[start + 1] == "after, %  12.5 ± 0.1"
    assert lines[start + 2 : start + 5] == [
        "note      the longest prompt has 29",
        "          tokens, a response up to 72;",
        "          both fit",
    ]
    assert lines[start + 5] == f"path      {PATH}"
    assert lines[start + 6 : start + 8] == ["", "run       short"]
    assert not [line for line in lines if "not shown" in line]


def test_the_first_column_alone_is_a_table_too() -> None:
    one = FittedTable("one")
    one.add_column("name")
    assert [line.strip("─ ") for line in printed(30, one).splitlines()] == ["one", "name", ""]


def test_lines_are_broken_at_blanks() -> None:
    assert [line.plain for line in wrap_words(Text("a bb  cccccc\n\nd"), 4)] == ["a bb", "cccccc", "", "d"]
    (styled, _) = wrap_words(Text.assemble(("ab", "bold"), " cd"), 3)
    assert [str(span.style) for span in styled.spans] == ["bold"]


def test_a_text_with_a_long_word_goes_out_as_it_is() -> None:
    assert printed(20, f"picture  {PATH}") == f"picture  {PATH}\n"
    assert printed(20, "short words are wrapped at blanks") == "short words are \nwrapped at blanks\n"


def test_a_pipe_has_no_width_but_what_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    for said, width in ((None, UNBOUNDED), ("", UNBOUNDED), ("many", UNBOUNDED), ("60", 60)):
        monkeypatch.delenv("COLUMNS", raising=False) if said is None else monkeypatch.setenv("COLUMNS", said)
        assert console().width == width
