"""What a program reads: JSON without NaN, CSV with empty cells, nothing else on standard output."""

import csv
import io
import json
import math
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.hostile import EVERY
from tipx.display.console import COMMANDS
from tipx.display.output import Form, choose_form, plain_value, print_frame, print_json
from tipx.errors import ConfigError

FRAME = pd.DataFrame(
    {"run": ["a,b", 'say "x"'], "step": pd.array([3, None], dtype="Int64"), "mean": [0.12345678, math.nan]}
)


def test_json_has_every_digit_and_null_for_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    print_frame(FRAME, "runs", Form.JSON)
    assert json.loads(capsys.readouterr().out) == [
        {"run": "a,b", "step": 3, "mean": 0.12345678},
        {"run": 'say "x"', "step": None, "mean": None},
    ]


def test_csv_has_every_digit_and_an_empty_cell_for_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    print_frame(FRAME, "runs", Form.CSV)
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows == [["run", "step", "mean"], ["a,b", "3", "0.12345678"], ['say "x"', "", ""]]


def test_a_table_is_for_eyes(capsys: pytest.CaptureFixture[str]) -> None:
    print_frame(FRAME, "two runs", Form.TABLE)
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "two runs"
    assert "0.123" in out


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.float32("nan"), None),
        (math.inf, None),
        (pd.NA, None),
        (pd.NaT, None),
        (True, True),
        ({1: (np.int64(2), [math.nan])}, {"1": [2, [None]]}),
        (date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_plain_value(value: Any, plain: Any) -> None:
    found = plain_value(value)
    assert found == plain
    assert type(found) is type(plain)


def test_what_is_no_json_is_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TypeError, match="set is no JSON"):
        print_json({"x": {1}})
    assert capsys.readouterr().out == ""


def test_one_form_at_a_time() -> None:
    assert (choose_form(), choose_form(as_json=True), choose_form(as_csv=True)) == tuple(Form)
    with pytest.raises(ConfigError, match="--json and --csv: expected one of them"):
        choose_form(as_json=True, as_csv=True)


@pytest.mark.parametrize("text", EVERY)
def test_any_text_is_read_as_it_was_and_commands_no_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_json([{text: text}])
    out = capsys.readouterr().out
    assert not COMMANDS.search(out)
    assert json.loads(out) == [{text: text}]
