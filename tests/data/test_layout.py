"""The layouts of public data sets, with invented rows: which columns are meant, and what copies have broken."""

from typing import Any

import pandas as pd
import pytest

from tipx.data.layout import Columns, answer_of, mend_text, read_prompts
from tipx.errors import DataError
from tipx.types import Prompt

ANY = Columns(None, None)
DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer.\n\nAdd 1 and 2.\n\nRemember to put your answer on its own "
    'line after "Answer:".'
)

LAYOUTS: dict[str, tuple[dict[str, Any], Prompt]] = {
    "MATH-500": (
        {
            "problem": "p",
            "solution": "so \\boxed{8}",
            "answer": "7",
            "subject": "s",
            "level": 2,
            "unique_id": "t/7.json",
        },
        Prompt("t/7.json", "p", "7"),
    ),
    "AIME, capitals": (
        {"ID": "2024-I-1", "Problem": "p", "Solution": "long", "Answer": 73},
        Prompt("2024-I-1", "p", "73"),
    ),
    "AIME, zeros": ({"id": 60, "problem": "p", "answer": "073", "url": "u", "year": "2024"}, Prompt("60", "p", "073")),
    "AIME 2025 parts": ({"question": "p", "answer": "70"}, Prompt("0", "p", "70")),
    "AIME metadata": ({"problem_idx": 4, "problem": "p", "answer": 70, "problem_type": ["a"]}, Prompt("4", "p", "70")),
    "GSM8K": ({"question": "p", "answer": "2*600=<<2*600=1200>>1,200\n#### 1,200"}, Prompt("0", "p", "1200")),
    "MATH": (
        {"problem": "p", "level": "Level 5", "type": "t", "solution": "1 \\boxed{x} \\boxed{(3,-1)}."},
        Prompt("0", "p", "(3,-1)"),
    ),
    "DAPO processed": ({"prompt": "p", "solution": "34", "data_source": "d"}, Prompt("0", "p", "34")),
    "DAPO raw": (
        {
            "prompt": [{"role": "user", "content": DAPO}],
            "reward_model": {"ground_truth": "3", "style": "r"},
            "extra_info": {"index": "a-b"},
        },
        Prompt("a-b", "Add 1 and 2.", "3"),
    ),
    "answers in a list": ({"question": "p", "final_answer": ["1", "2"]}, Prompt("0", "p", "1, 2")),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name: str) -> None:
    row, expected = LAYOUTS[name]
    assert read_prompts(pd.DataFrame([row]), ANY, "data.path", "f.jsonl") == [expected]


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("\frac{1}{2}", "\\frac{1}{2}"),
        ("\triangle ABC", "\\triangle ABC"),
        ("\times 5", "\\times 5"),
        ("\text{cm}", "\\text{cm}"),
        ("\binom{3}{2}", "\\binom{3}{2}"),
        ("\right)", "\\right)"),
        ("a \neq b", "a \\neq b"),
        ("\vec{v}", "\\vec{v}"),
        ("one\n\ttwo\r\nequal", "one\n\ttwo\r\nequal"),
        ("an\tapple", "an\tapple"),
    ],
)
def test_lost_backslashes(broken: str, whole: str) -> None:
    assert mend_text(broken) == whole


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (None, None),
        (pd.NA, None),
        ("", None),
        (5.0, "5"),
        (0.5, "0.5"),
        ("#### -1,234.5", "-1234.5"),
        ("#### $5", "5"),
        ("#### 1,2", "1,2"),
        ("####", None),
        ("\\boxed{}", None),
        ("so $\\boxed 2$.", "2"),
        ("so $\\boxed {17}$.", "17"),
        ("so $\\fbox{9}$.", "9"),
        ("a worked solution without an end " * 20, None),
        ("x" * 300, "x" * 300),
        ("x" * 301, None),
    ],
)
def test_answer(value: Any, answer: str | None) -> None:
    assert answer_of(value) == answer


def test_of_two_columns_of_one_name_the_first_counts() -> None:
    frame = pd.DataFrame([{"Problem": "a", "problem": "b", "final_answer": "1", "finalAnswer": "2"}])
    assert read_prompts(frame, ANY, "data.path", "f") == [Prompt("0", "a", "1")]


def test_ids_that_are_not_unique_are_row_numbers() -> None:
    frame = pd.DataFrame([{"id": 1, "problem": "a"}, {"id": 1, "problem": "b"}])
    assert [p.id for p in read_prompts(frame, ANY, "data.path", "f")] == ["0", "1"]


def test_no_column_for_the_problem() -> None:
    with pytest.raises(DataError, match=r"eval\.path: 'f' has no column for the problem \(one of problem.*it has 'a'"):
        read_prompts(pd.DataFrame([{"a": 1}]), ANY, "eval.path", "f")
    with pytest.raises(DataError, match=r"no column 'q'; it has 'a'; set data\.prompt_field"):
        read_prompts(pd.DataFrame([{"a": 1}]), Columns("q", None), "data.path", "f")
