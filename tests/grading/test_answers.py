"""The text of an answer: what is plainly the same, plainly another, and left to mathematics."""

from fractions import Fraction

import pytest

from tipx.grading.answers import brace_depth, extract_answer, majority_vote, number_of, plain_answer, same_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("17", 17),
        ("-017", -17),
        ("1,234,567", 1234567),
        ("1 234", 1234),
        ("0.25", Fraction(1, 4)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("1/2", Fraction(1, 2)),
        ("\\frac{-3}{6}", Fraction(-1, 2)),
        ("3\\frac{1}{2}", Fraction(7, 2)),
        ("-3 1/2", Fraction(-7, 2)),
        ("31/2", Fraction(31, 2)),
        ("31\\frac{1}{2}", Fraction(63, 2)),
        ("12,34", None),
        ("1/0", None),
        ("3\\frac{-1}{2}", None),
        ("", None),
        (".", None),
        ("-", None),
        ("x", None),
        ("1e3", None),
        ("9" * 400, None),
    ],
)
def test_number(text: str, value: Fraction | int | None) -> None:
    found = number_of(text)
    assert (None if found is None else found[0]) == value


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("0.5", "0.50", True),
        ("0.5", "1/2", True),
        ("0.5", "0.51", False),
        ("1/3", "0.3333333", None),  # may be rounded: mathematics decides
        ("2/4", "1/2", True),
        ("x", "$x$", True),
        ("\\frac{1}{2}x", "\\dfrac12 x", True),
        ("no solution", "nosolution", None),
        ("x", "y", None),
        ("", "", None),
        ("1\\\\2", "1\\ 2", None),  # a new row of a matrix is no space
        ("x", "y" * 2000, False),
        ("x", "(" * 31 + ")" * 31, False),
        ("x", "(" * 30 + ")" * 30, None),
        ("x", "y" * 1001, False),
        ("x", "y" * 1000, None),
    ],
)
def test_same_text(gold: str, answer: str, expected: bool | None) -> None:
    assert same_text(gold, answer) is expected


def test_looks() -> None:
    assert plain_answer("\\left( 3,\\, \\dfrac{\\pi}{2} \\right).") == "(3,\\frac{\\pi}{2})"
    assert plain_answer("3 1/2") == "3 1/2"
    assert plain_answer("\\text{ no  solution }") == "no solution"


def test_depth() -> None:
    assert brace_depth("((a)[{b}])") == 3
    assert brace_depth("") == 0


def test_extract() -> None:
    assert extract_answer("<think>\\boxed{1}</think>") is None
    assert extract_answer("\\boxed{ }") is None
    assert extract_answer("\\boxed{1}<think>\\boxed{2}") == "1"


def test_votes() -> None:
    assert majority_vote("0.5") == majority_vote("\\frac12") == majority_vote("1/2")
    assert majority_vote("Even") == majority_vote("\\text{even}")
    assert majority_vote("x") != majority_vote("y")
