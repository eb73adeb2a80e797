"""What is printed commands no terminal, and a display that breaks is one line at most."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from tests.hostile import COMMANDS, EVERY, MARKUP
from tipx.display import console as terminal
from tipx.display.console import Stream, clean_text, console, print_text
from tipx.display.progress import Screen
from tipx.errors import OutputError


def printed(what: object, monkeypatch: pytest.MonkeyPatch, **options: object) -> str:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    console(width=400, **options).print(what)
    return out.getvalue()


def ways(text: str) -> list[object]:
    """A string, a text, a title, a heading, a cell."""
    table = Table(text, title=text, caption=text)
    table.add_row(text)
    return [text, Text(text, "bold"), table]


@pytest.mark.parametrize("text", EVERY)
def test_no_control_character_reaches_the_terminal(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for what in ways(text):
        plain = printed(what, monkeypatch)
        assert not terminal.COMMANDS.search(plain)
        # With colours, nothing but them.
        colours = printed(what, monkeypatch, force_terminal=True, color_system="standard")
        left = re.sub(r"\x1b\[[0-9;]*m", "", colours)
        assert not terminal.COMMANDS.search(left)
        assert "\x1b]8" not in colours
        assert "\x1b[31m" not in colours


@pytest.mark.parametrize("text", MARKUP)
def test_markup_is_shown_as_it_is(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for what in ways(text):
        assert text in printed(what, monkeypatch)


def test_letters_lines_and_tabs_stay() -> None:
    assert clean_text("a\tb\nc ± é 漢 😀") == "a\tb\nc ± é 漢 😀"
    assert clean_text("\x1b[0m\x7f\x9b") == "␛[0m␡\ufffd"


@pytest.mark.parametrize("text", COMMANDS)
def test_what_programs_read_is_clean_too(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    print_text(f"{text}\n")
    assert not terminal.COMMANDS.search(out.getvalue())


@pytest.mark.parametrize("text", EVERY)
def test_a_live_display_shows_names_as_they_are(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with Screen(2) as screen:
        screen.phase(text, 3)(1)
        screen.say(text)
    said = capsys.readouterr().err
    assert "\x1b]" not in said
    assert "\x9b" not in said
    assert "\u202e" not in said


class Broken(io.StringIO):
    def __init__(self, error: OSError | ValueError) -> None:
        super().__init__()
        self.error = error

    def write(self, _text: str) -> int:
        raise self.error


ERRORS = [
    BrokenPipeError(32, "Broken pipe"),
    OSError(28, "No space left on device"),
    OSError(5, "I/O error"),
    ValueError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_display_that_breaks_is_let_go(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Broken(error))
    with Screen(2) as screen:
        screen.say("a")
        screen.say("b")
    assert screen.console.file.broken  # type: ignore[attr-defined]


def test_where_output_is_the_purpose_a_full_disk_is_an_error() -> None:
    with pytest.raises(OutputError, match="cannot write to standard output: No space left on device"):
        Stream(Broken(ERRORS[1]), needed=True).write("a")  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="it is closed"):
        Stream(None, needed=True).write("a")


def test_a_reader_that_left_ends_it_quietly() -> None:
    with pytest.raises(SystemExit) as stop:
        Stream(Broken(BrokenPipeError()), needed=True).write("a")
    assert stop.value.code == 141


def test_letters_that_a_terminal_has_not_are_named() -> None:
    raw = io.BytesIO()
    file = Stream(io.TextIOWrapper(raw, encoding="ascii"))
    file.write("0.5 ± 0.1")
    file.flush()
    assert raw.getvalue() == b"0.5 \\xb1 0.1"
    assert not file.broken


# --- the real ones ---------------------------------------------------------------------------------------------------

PROGRAM = """
import contextlib, os, sys
from tipx.display.console import console, guard_streams, print_text
with guard_streams(needed={needed}):
    done = open("done", "w")
    with contextlib.suppress(OSError):
        os.write(2, b"by C++\\n")
    for _ in range(3):
        console().print("x" * 100)
        console(stderr=True).print("said")
        print("by a library", file=sys.stderr)
        print_text("y" * 100)
    done.write("whole")
"""
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
ENVIRONMENT |= {"PYTHONPATH": str(Path(terminal.__file__).parents[2])}
BROKEN = ["2>/dev/full", ">/dev/full", "2>&-", ">&-", "<&- >&- 2>&-", "2>/dev/full >/dev/full"]


def ended(folder: Path, how: str, needed: bool) -> tuple[int, str]:
    command = ["sh", "-c", f'exec "$@" {how}', "sh", sys.executable, "-c", PROGRAM.format(needed=needed)]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("how", BROKEN)
def test_work_goes_on_without_a_display(how: str, tmp_path: Path) -> None:
    code, err = ended(tmp_path, how, needed=False)
    assert code == 0
    assert "Exception" not in err
    assert (tmp_path / "done").read_text() == "whole"  # and not what was said


@pytest.mark.parametrize("how", ["2>&1 | head -c 1", "| head -c 1"])
def test_work_goes_on_when_the_reader_leaves(how: str, tmp_path: Path) -> None:
    _, err = ended(tmp_path, how, needed=False)
    assert set(err.splitlines()) <= {"by C++", "said", "by a library"}
    assert (tmp_path / "done").read_text() == "whole"


@pytest.mark.parametrize(("how", "code", "line"), [(">/dev/full", 1, "No space left on device"), (">&-", 1, "closed")])
def test_a_listing_that_cannot_be_written_is_one_line(how: str, code: int, line: str, tmp_path: Path) -> None:
    for words in (["runs"], ["--help"]):
        command = ["sh", "-c", f'exec "$@" {how}', "sh", sys.executable, "-m", "tipx", *words]
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert done.stderr.startswith("error: cannot write to standard output")
        assert line in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_listing_whose_reader_left_is_quiet(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "tipx", "list"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, b"")
