r"""A formula with a unit before or after it: `5\,\text{km}`, `\$18`, `90^\circ`, `50\%`."""

import re
from dataclasses import replace
from fractions import Fraction

from tipx.grading.mathematics.expressions import Node, UnreadableExpressionError, degrees, formula, number
from tipx.grading.mathematics.kinds import Either, Quantity, Reading
from tipx.grading.mathematics.tokens import Token, Tokens, enclosed
from tipx.grading.mathematics.units import MONEY, NO_UNITS, SCALES, Unit, unit

FOR_ALL = re.compile(r"\s*for (?:all|any|every|each)(?: real| integers?)?\s*")
UNIT = re.compile(r"%|\$|\^\{o\}w?|w(?:\^?(?:2|\{-?2\}))?(?:/?w(?:\^?(?:2|\{-?2\}))?)*")
MOST_WORDS = 4


def quantity(pieces: Tokens) -> Reading | None:
    """A formula with the unit before or after it; None if it is none."""
    pieces = bare(pieces)
    place = 1 if pieces and pieces[0].text == "-" else 0
    if len(pieces) > place and pieces[place].text in MONEY:
        money = pieces[place].text
        found = quantity([*pieces[:place], *pieces[place + 1 :]])
        if not isinstance(found, Quantity) or found.unit not in (None, Unit(f"{MONEY[money]}1", Fraction(1))):
            return None
        return replace(found, unit=Unit(f"{MONEY[money]}1", Fraction(1)))
    for end in range(len(pieces), 0, -1):
        tail = pieces[end:]
        if tail and not is_unit(tail):
            continue
        try:
            value = formula(pieces[:end])
        except UnreadableExpressionError:
            continue
        return measured(value, pieces[:end], tail)
    return None


def is_unit(pieces: Tokens) -> bool:
    r"""Whether tokens can be one: a sign, or words with powers and slashes, such as `\text{m}/\text{s}^2`."""
    return UNIT.fullmatch("".join(unit_sign(token) for token in pieces)) is not None


def unit_sign(token: Token) -> str:
    """What stands for a token in `UNIT`."""
    if token.kind in ("words", "number"):
        return "w" if token.kind == "words" else "2" if token.text in ("1", "2", "3", "4") and not token.spaced else "n"
    return "$" if token.text in MONEY else {"\\circ": "o", "\\cdot": "/"}.get(token.text, token.text)


def measured(value: Node, pieces: Tokens, tail: Tokens) -> Reading | None:
    """A formula with the tokens of its unit."""
    if not tail:
        found = Quantity(value, digits=decimal(pieces))
        # `20^\circ` is read as a number of radians; what is asked for may be degrees.
        if [token.text for token in pieces[-4:]] == ["^", "{", "\\circ", "}"] and value == degrees(
            formula(pieces[:-4])
        ):
            return Quantity(formula(pieces[:-4]), Unit("degree1", Fraction(1)), decimal(pieces[:-4]))
        last = pieces[-1]
        if len(pieces) > 5 and pieces[-3].text == "\\circ" and last.text in ("C", "F"):
            return Quantity(formula(pieces[:-5]), unit(f"degree {last.text}"), decimal(pieces[:-5]))
        # A letter after a blank may be a unit: `5 m`.
        if len(pieces) == 2 and pieces[0].kind == "number" and last.kind == "words" and len(last.text) == 1:
            return Either((found, Quantity(formula(pieces[:-1]), unit(last.text), decimal(pieces[:-1]))))
        return found
    text = "".join((" " if t.spaced or t.kind == "words" else "") + MONEY.get(t.text, t.text) for t in tail).strip()
    factor = 1
    for word, size in SCALES.items():
        if re.search(rf"\b{word}s?\b", text):
            factor *= size
            text = re.sub(rf"\b{word}s?\b", "", text).strip()
    said = set(text.lower().split())
    if len(said) > MOST_WORDS or said & NO_UNITS:
        return None
    digits = decimal(pieces)
    if factor != 1:
        value, digits = Node("product", (value, number(factor))), None
    return Quantity(value, unit(text), digits)


def decimal(pieces: Tokens) -> tuple[int, Fraction] | None:
    """(significant digits, worth of the last) of one decimal number, with or without a sign."""
    parts = [token for token in pieces if token.text not in ("+", "-", "{", "}")]
    if len(parts) != 1 or parts[0].kind != "number" or not re.search("[.eE]", parts[0].text):
        return None
    mantissa, _, exponent = parts[0].text.lower().partition("e")
    after = len(mantissa.partition(".")[2])
    return len(mantissa.replace(".", "").lstrip("0")), Fraction(10) ** (int(exponent or 0) - after)


def bare(pieces: Tokens) -> Tokens:
    """Without braces around the whole, and signs at the end that say nothing."""
    while pieces and pieces[-1].text in (",", ";", ".") and pieces[-1].kind == "sign":
        pieces = pieces[:-1]
    for place, token in enumerate(pieces):
        if token.kind == "words" and FOR_ALL.fullmatch(token.text) and says_nothing(pieces[place + 1 :]):
            pieces = pieces[:place]
            break
    while pieces and pieces[0].text == "{" and enclosed(pieces):
        pieces = pieces[1:-1]
    return pieces


def says_nothing(pieces: Tokens) -> bool:
    r"""Whether what is meant "for all" is one name, or a name in a set such as \mathbb{R}."""
    texts = [token.text for token in pieces]
    return len(texts) in (1, 6) and pieces[0].kind == "letter" and texts[1:3] in ([], ["\\in", "\\mathbb"])
