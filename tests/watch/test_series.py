"""Reading on is the same as reading all, whatever happens to the file in between."""

import json
import os
from pathlib import Path

import pytest

from tests.watch.conftest import line, text_of
from tipx.watch import series
from tipx.watch.series import MetricsTail, RunSeries

ROWS = [
    {"step": 0, "eval/arithmetic/mean": 0.25, "time/eval_s": 9.0},
    *(
        line(step, loss=1 / step, accuracy=step / 100 if step % 4 == 0 else None, s=float(step))
        for step in range(1, 30)
    ),
]


def whole(file: Path) -> tuple[RunSeries, str | None]:
    """What a reader that sees the file for the first time makes of it."""
    tail = MetricsTail(file)
    tail.read()
    return tail.series, tail.problem


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_what_is_kept_of_the_lines(file: Path) -> None:
    file.write_text(text_of(ROWS))
    kept, problem = whole(file)
    assert problem is None
    assert (kept.lines, kept.step) == (30, 29)
    assert list(kept.loss.steps) == list(range(1, 30))
    assert kept.loss.last == 1 / 29
    assert list(kept.accuracy.steps) == [0, 4, 8, 12, 16, 20, 24, 28]
    assert kept.accuracy.last == 0.28
    assert kept.total_s == 9.0 + 29 * 30 / 2
    assert kept.longest_s == 29.0
    # The median of 20 to 29; the evaluation before step 1 is no part of a step.
    assert kept.step_s == 24.5


def test_evaluations_are_shared_by_all_steps(file: Path) -> None:
    rows = [line(1, s=2.0), line(2, s=2.0) | {"time/eval_s": 6.0}, line(3, s=2.0)]
    file.write_text(text_of(rows))
    assert whole(file)[0].step_s == 2.0 + 6.0 / 3
    assert MetricsTail(file).series.step_s is None


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_reading_on_equals_reading_all(file: Path, size: int) -> None:
    text, tail = text_of(ROWS).encode(), MetricsTail(file)
    for end in range(0, len(text) + size, size):
        with file.open("ab") as handle:
            handle.write(text[end : end + size])
        if size > 1 or end % 13 == 0:  # a look at each byte would take long
            tail.read()
    tail.read()
    assert (tail.series, tail.problem) == whole(file)
    assert tail.series.lines == 30


def test_a_half_line_counts_when_it_is_whole(file: Path) -> None:
    text, tail = text_of(ROWS), MetricsTail(file)
    half = len(text_of(ROWS[:-1])) + 20
    file.write_text(text[:half])
    tail.read()
    assert (tail.series.step, tail.problem) == (28, None)
    file.write_text(text[:half] + text[half:])
    tail.read()
    assert (tail.series, tail.problem) == whole(file)
    assert tail.series.step == 29


def test_each_line_is_read_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    parse = series.parse_row
    monkeypatch.setattr(series, "parse_row", lambda *args: parsed.append(args) or parse(*args))
    tail = MetricsTail(file)
    file.write_text(text_of(ROWS[:20]))
    tail.read()
    tail.read()
    assert len(parsed) == 20
    with file.open("a") as handle:
        handle.write(text_of(ROWS[20:22]))
    tail.read()
    assert len(parsed) == 22
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it did not change, and is opened"))
    tail.read()


def changed_in_place(file: Path, rows: list[dict[str, float]]) -> None:
    with file.open("r+") as handle:
        handle.truncate()
        handle.write(text_of(rows))


def replaced(file: Path, rows: list[dict[str, float]]) -> None:
    aside = file.with_name("aside")
    aside.write_text(text_of(rows))
    aside.replace(file)


@pytest.mark.parametrize("change", [changed_in_place, replaced])
@pytest.mark.parametrize("length", [0, 5, 20, 29])
def test_a_file_that_begins_anew(file: Path, change: object, length: int) -> None:
    tail = MetricsTail(file)
    file.write_text(text_of(ROWS[:20]))
    tail.read()
    anew = [{"step": 0}, *(line(step, loss=7.0) for step in range(1, length + 1))]
    change(file, anew)  # type: ignore[operator]
    tail.read()
    assert (tail.series, tail.problem) == whole(file)
    assert tail.series.loss.values.count(7.0) == length
    assert tail.series.lines == length + 1


def test_a_file_that_goes_and_comes_back(file: Path) -> None:
    tail = MetricsTail(file)
    tail.read()
    assert (tail.series, tail.written) == (RunSeries(), None)
    file.write_text(text_of(ROWS))
    tail.read()
    assert tail.series.step == 29
    assert tail.written is not None
    file.unlink()
    tail.read()
    assert (tail.series, tail.written) == (RunSeries(), None)


WRONG = {
    "no JSON": (b"{\n", "no JSON"),
    "no object": (b"[1]\n", "holds list"),
    "no text": (b"\xff\xfe\n", "no text"),
    "no step": (b"{}\n", "a step's numbers"),
    "a step too far": (b'{"step": 22}\n', "after step 19"),
    "texts": (b'{"step": 20, "train/loss": "<b>"}\n', "a step's numbers"),
    "nested": (b"[" * 100_000 + b"\n", "nested too deeply"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_damaged_line_ends_what_is_read(file: Path, case: str) -> None:
    wrong, words = WRONG[case]
    tail = MetricsTail(file)
    file.write_text(text_of(ROWS[:20]))
    tail.read()
    with file.open("ab") as handle:
        handle.write(wrong + text_of(ROWS[20:]).encode())
    tail.read()
    assert tail.problem is not None
    assert tail.problem.startswith("line 21 ")
    assert words in tail.problem
    assert (tail.series, tail.problem) == whole(file)
    file.write_text(text_of(ROWS))  # mended
    tail.read()
    assert (tail.series, tail.problem) == whole(file)
    assert tail.series.step == 29


def test_odd_numbers(file: Path) -> None:
    huge = 10**400
    odd = {
        "step": 1,
        "train/loss": float("nan"),
        "time/train_s": huge,
        "select/kept_frac": None,
        "rollout/tokens": True,
    }
    file.write_text(json.dumps(odd) + "\n" + text_of([line(2)]))
    kept, problem = whole(file)
    assert (problem, kept.step, len(kept.kept), len(kept.loss)) == (None, 2, 1, 2)
    assert kept.longest_s == float("inf")


def test_what_is_no_file(tmp_path: Path, file: Path) -> None:
    file.mkdir()
    assert whole(file)[1] == "it is no file"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert whole(fifo)[1] == "it is no file"  # without waiting for a writer


def test_keys_of_older_runs(file: Path) -> None:
    old = {"step": 1, "rollout/clipped_ratio": 0.5, "time/train": 3.0}
    file.write_text(json.dumps(old) + "\n")
    kept, _ = whole(file)
    assert (kept.truncated.last, kept.total_s) == (0.5, 3.0)
