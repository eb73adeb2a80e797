"""The reader of answers, part by part: nothing is skipped, and two numbers are equal by their size."""

import random
import re
from fractions import Fraction

import pytest

from tipx.grading.mathematics.equality import same
from tipx.grading.mathematics.expressions import UnreadableExpressionError, formula
from tipx.grading.mathematics.kinds import Unread, Words
from tipx.grading.mathematics.notation import canonical
from tipx.grading.mathematics.readings import read
from tipx.grading.mathematics.tokens import tokens
from tipx.grading.mathematics.units import Unit, unit
from tipx.grading.mathematics.values import MOST_EXPONENT, exact, is_equal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\\left(\\dfrac12\\right)", "(\\frac 12)"),
        ("10\\,000", "10000"),
        ("10{,}000", "10000"),
        ("11,\\! 111", "11111"),
        ("$x$", "x"),
        ("\\$18", "\\$ 18"),
        ("2²", "2^{2}"),
        ("½", "\\frac{1}{2}"),
        ("√12", "\\sqrt {12}"),
        ("x₁₀", "x_{10}"),
        ("\\text{ 5 km}", "5 \\text{km}"),
        ("\\text{sin} x", "\\sin x"),
        ("\\mathrm{e}", "\\text{e}"),
        ("]0,1[", "(0,1)"),
        ("[0,1[", "[0,1)"),
        ("]0,1]", "(0,1]"),
        ("[1,2],[3,4]", "[1,2],[3,4]"),
        ("0.1\\overline{6}", "(\\frac{15}{90})"),
        ("5.", "5"),
        ("1\\\\[4pt]2", "1\\\\2"),
    ],
)
def test_one_way_of_writing(text: str, expected: str) -> None:
    assert canonical(text) == expected
    assert canonical(expected) == expected


def test_every_character_is_part_of_a_token() -> None:
    rng = random.Random(0)
    for _ in range(500):
        text = "".join(rng.choices("12.,ab \\{}()[]^_|!%<=>+-*/'&:;", k=rng.randrange(12)))
        kept = "".join(token.text for token in tokens(text)).replace(" ", "")
        assert kept == re.sub(r"\s+", "", text), text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2+3\\cdot4", 14),
        ("2-3-4", -5),
        ("-2^2", -4),
        ("(-2)^2", 4),
        ("2^{-1}", Fraction(1, 2)),
        ("2^3^2", None),
        ("8/4/2", 1),
        ("1/2\\cdot4", 2),
        ("\\frac12", Fraction(1, 2)),
        ("\\frac1{12}", Fraction(1, 12)),
        ("\\frac123", None),
        ("\\sqrt{16}", 4),
        ("\\sqrt9", 3),
        ("\\sqrt[3]{-8}", -2),
        ("8^{2/3}", 4),
        ("2\\frac13", Fraction(7, 3)),
        ("-2\\frac13", Fraction(-7, 3)),
        ("2\\frac43", Fraction(8, 3)),
        ("|-3|", 3),
        ("|2||-3|", 6),
        ("2|-3|", 6),
        ("\\lfloor -2.5 \\rfloor", -3),
        ("\\lceil 2.5 \\rceil", 3),
        ("5!", 120),
        ("3!!", 3),
        ("(3!)!", 720),
        ("3! !", 720),
        ("\\binom52", 10),
        ("{5 \\choose 2}", 10),
        ("1 \\over 4", Fraction(1, 4)),
        ("\\gcd(12,18,8)", 2),
        ("\\max(1,3,2)", 3),
        ("1.5e3", 1500),
        ("10^{400}", 10**400),
        ("0^{-1}", None),
        ("1/0", None),
        ("(-1)!", None),
    ],
)
def test_exact_values(text: str, value: Fraction | int | None) -> None:
    try:
        found = exact(formula(tokens(canonical(text))))
    except UnreadableExpressionError:
        found = None
    assert found == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "2 3", "x2", "2+", "*2", "(2", "2)", "{2", "\\foo", "\\frac1", "\\sqrt", "2^", "x_", "\\binom5", "|x"),
        *("@", "?", "2^3^2", "2 & 3", "\\text{hi} 2", "\\int x", "\\sin", "\\ln_2 3", "\\max 3"),
        *("5 \\% 2", "1e99999", "\\lfloor 2"),
    ],
)  # fmt: skip
def test_what_is_no_formula(text: str) -> None:
    with pytest.raises(UnreadableExpressionError):
        formula(tokens(text))


@pytest.mark.parametrize(
    "text", ["\\int_0^1 x", "5 \\foo", "x \\oplus y", "\\sum_{k=1}^n k", "2 3", "3 = 5", "x = 3 = 5", "5?6", "2519_8"]
)
def test_what_cannot_be_read_equals_only_itself(text: str) -> None:
    assert isinstance(read(text), Unread)
    assert same(text, text) is True
    assert same(text, "5") is None
    assert same("5", text) is False


def test_a_text_is_read_as_one() -> None:
    assert read("\\text{an Ellipse}") == Words("ellipse")
    assert same("", "") is None


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("\\sqrt{1/n}", "1/\\sqrt n", True),
        ("\\sqrt{x^2}", "x", False),
        ("\\ln(x^2)", "2\\ln x", True),
        ("(-1)^{2n}", "1", True),
        ("(-1)^n", "1", False),
        ("\\cos(n\\pi)", "(-1)^n", True),
        ("\\sin x", "\\sin y", False),
        ("x/x", "1", True),
        ("x-x", "0", True),
        ("1/(x-x)", "1/(x-x)+1", False),
        ("\\sin\\pi", "0", True),
        ("10^{-80}\\pi", "0", False),
        ("10^{-80}\\pi", "10^{-81}\\pi", False),
        ("10^{-200}\\pi", "10^{-201}\\pi", False),
        ("10^{5000}\\sqrt2", "10^{5000}\\sqrt2+1", False),
        ("10^{5000}\\sqrt2", "10^{5000}\\sqrt2", True),
        ("\\infty", "\\infty", True),
        ("\\infty", "-\\infty", False),
        ("\\infty", "10^{400}", False),
        ("\\infty-\\infty", "0", False),
        ("2^{1000000}", "2^{1000000}+2^{900000}", True),  # more digits than are looked at
        ("2^{1000000}", "2^{1000001}", False),
        ("i^2", "-1", True),
        ("i", "-i", False),
        ("e^{i x}", "\\cos x + i\\sin x", True),
        ("\\log 8", "3\\log 2", True),
        ("\\log 8", "\\ln 8", True),
        ("\\log 8", "\\log_{10} 8", True),
        ("\\log_2 8", "\\log 8", False),
        ("\\log 10", "1", True),
        ("\\log 100 + \\log 10", "2 + \\ln 10", False),  # one base on both sides
        ("\\arctan 1", "\\pi/4", True),
        ("\\tan 90^{\\circ}", "5", False),
    ],
)
def test_equality_of_formulas(one: str, other: str, equal: bool) -> None:
    ours, theirs = (formula(tokens(canonical(text))) for text in (one, other))
    assert is_equal(ours, theirs) is equal
    assert is_equal(theirs, ours) is equal


def test_a_power_too_large_is_no_number() -> None:
    huge = formula(tokens(f"2^{{{MOST_EXPONENT + 1}}}"))
    assert not is_equal(huge, formula(tokens(f"2^{{{MOST_EXPONENT + 2}}}")))
    assert is_equal(huge, huge)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cm^2", "square centimeters"),
        ("miles per hour", "mph"),
        ("m/s", "meters per second"),
        ("in", "Inches"),
        ("feet", "foot"),
        ("hours", "hr"),
        ("kg", "kilograms"),
    ],
)
def test_one_unit_in_two_ways(one: str, other: str) -> None:
    assert unit(one) == unit(other) is not None


def test_sizes_of_units() -> None:
    assert unit("km") == Unit("length1", Fraction(1000))
    assert unit("cm^2") == Unit("length2", Fraction(1, 10_000))
    assert unit("km/h") == Unit("length1 time-1", Fraction(5, 18))
    assert unit("liters") == Unit("length3", Fraction(1, 1000))
    assert unit("square units") is unit("") is None
    assert unit("apples") == unit("Apple") != unit("oranges")
