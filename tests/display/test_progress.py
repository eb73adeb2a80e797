"""What a user sees while a job runs: plain lines where there is no terminal, a live display where there is one."""

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tipx.display.progress import Quiet, Screen

ROW = {"train/loss": 0.25, "select/kept_frac": 0.5, "select/reverse_kl_all": 0.125, "perf/tokens_per_s": 1234.5}
ACCURACY = {"eval/arithmetic/mean": 0.75}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the seconds that have gone by."""
    now = [1000.0]
    monkeypatch.setattr("tipx.display.progress.time", SimpleNamespace(monotonic=lambda: now[0]))

    def set_to(seconds: float) -> None:
        now[0] = 1000.0 + seconds

    return set_to


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.usefixtures("plain")
def test_plain_lines_hold_the_numbers_and_no_control_characters(
    capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]
) -> None:
    with Screen(4) as screen:
        assert not screen.live
        screen.say("resuming after step 1 of 4 [sic]")
        screen.step({"step": 0, **ACCURACY})
        for step in (2, 3, 4):
            clock(20.0 * (step - 1))
            screen.step({"step": step, **ROW})
        tick = screen.phase("eval", 3)
        tick(2)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"[\x20-\x7e\n]+", err)
    # Step 2 is the first of this process, so 20 s are one step's: at step 3 two steps took 40 s, and one is left.
    assert err.splitlines() == [
        "resuming after step 1 of 4 [sic]",
        "step     0  arithmetic 0.750",
        "step     2  loss 0.2500  kept 50%  div 0.1250  1234 tok/s",
        "step     3  loss 0.2500  kept 50%  div 0.1250  1234 tok/s  0:20 left",
        "step     4  loss 0.2500  kept 50%  div 0.1250  1234 tok/s  0:00 left",
    ]


@pytest.mark.usefixtures("plain")
def test_plain_lines_come_every_ten_seconds_and_at_an_evaluation_and_the_end(
    capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]
) -> None:
    with Screen(40) as screen:
        for step in range(1, 41):
            clock(step)  # a step a second
            screen.step({"step": step, **ROW, **(ACCURACY if step == 15 else {})})
    spoken = [int(line.split()[1]) for line in capsys.readouterr().err.splitlines()]
    assert spoken == [1, 11, 15, 21, 31, 40]


@pytest.mark.usefixtures("plain")
def test_a_step_without_monitored_numbers_is_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(1) as screen:
        screen.step({"step": 1, "train/loss": 0.25, "select/kept_frac": 0.5})
    assert capsys.readouterr().err.strip() == "step     1  loss 0.2500  kept 50%"


@pytest.mark.usefixtures("terminal")
def test_a_terminal_has_a_live_display(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(2) as screen:
        assert screen.live
        tick = screen.phase("eval at step 0", 4)
        tick(4)
        screen.step({"step": 0, **ACCURACY})
        for step in (1, 2):
            screen.step({"step": step, **ROW})
        screen.say("left out 3 of 9 prompts")
        evaluation, train = screen.bars.tasks
        assert (evaluation.visible, evaluation.completed) == (False, 4)
        assert (train.completed, train.total) == (2, 2)
        assert train.fields["note"] == "loss 0.2500  kept 50%  div 0.1250  1234 tok/s"
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b[" in err
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    assert "step     0  arithmetic 0.750" in text
    assert "left out 3 of 9 prompts" in text
    assert "2/2" in text
    # The bar has the numbers of every step; lines are for what should stay.
    assert "step     1 " not in text


@pytest.mark.usefixtures("terminal")
def test_an_error_inside_leaves_the_terminal_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with Screen(2) as screen:
            screen.step({"step": 1, **ROW})
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fail()
    err = capsys.readouterr().err
    assert err.rfind("\x1b[?25h") > err.rfind("\x1b[?25l")  # the cursor is shown again


def test_other_processes_show_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def use(watch: Any) -> None:
        watch.say("no")
        watch.step({"step": 1, **ROW})
        watch.phase("eval", 3)(1)

    with Quiet() as quiet:
        use(quiet)
    assert capsys.readouterr() == ("", "")
