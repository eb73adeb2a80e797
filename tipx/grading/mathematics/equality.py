r"""Are two answers the same? Where a strict and a lenient reading both have a case, `TAKEN` says which is taken."""

import re
from fractions import Fraction
from itertools import starmap

from mpmath import mp

from tipx.grading.answers import IDLE
from tipx.grading.mathematics import values
from tipx.grading.mathematics.expressions import Node, number
from tipx.grading.mathematics.kinds import (
    Based,
    Clock,
    Either,
    Group,
    Matrix,
    Named,
    Quantity,
    Ratio,
    Reading,
    Relation,
    Union,
    Unread,
    Words,
)
from tipx.grading.mathematics.notation import canonical
from tipx.grading.mathematics.readings import plain_words, read
from tipx.grading.mathematics.units import Unit

VERSION = 2
"""Of the verdicts: it grows with every change of one. Version 1 was math-verify's equality."""
TAKEN = {
    "decimal": "equals an exact number that it rounds, or cuts off, if it has 6 significant digits or more",
    "decimals": "two of them are equal only exactly",
    "unit": "a unit, currency, degree sign or base may be missing on one side; two must agree, and are converted",
    "percent": "50% equals 50, and 1/2 where the gold answer is 1/2; a gold 50% does not equal 0.5",
    "order": "bare lists and sets have none; tuples, and a list against a tuple, do",
    "name": "x=5 equals 5, and y=5 does not equal x=5",
    "interval": "an inequality of one name equals its interval",
    "equation": "equals its multiples by a constant",
    "logarithm": "without a base it is natural or decimal, the same in both answers",
    "roots": "what holds for real values is taken to hold",
    "colon": "3:30 is a time; any other ratio equals its multiples and its fraction",
    "vector": "a column equals the tuple of its numbers",
    "text": "letters and digits count, not their case; a text equals no formula",
}
"""The readings that are taken, as a result of an evaluation records them."""
SIGNIFICANT = 6
MATHEMATICS = re.compile(r"^[-+]|[+=^_*/<>|\\\[\]]")
"""No part of a text."""
HALF_DAY = 12
# Of the last digit; a bit more and less, since the error is computed.
HALF, WHOLE = 0.5 + 1e-9, 1 - 1e-9


def same(gold: str, answer: str) -> bool | None:
    """Whether an answer equals the gold one; None if the gold answer cannot be read, and the answer is another text."""
    if written(gold) == written(answer):
        return bool(written(gold)) or None
    ours, theirs = read(gold), read(answer)
    if isinstance(ours, Words):
        return ours.text == as_words(answer)
    if isinstance(ours, Unread):
        return None
    if isinstance(theirs, Words):
        return theirs.text == as_words(gold)
    return alike(ours, theirs)


def as_words(text: str) -> str | None:
    """What a text is without its looks; None if it is mathematics."""
    text = re.sub(r"\\text|[{}()]", " ", canonical(text)).strip()
    return None if MATHEMATICS.search(text) else plain_words(text)


def written(text: str) -> str:
    """A text without blanks; of words alone, in small letters."""
    text = IDLE.sub("", canonical(text))
    return text.lower() if re.fullmatch("[a-zA-Z]{3,}", text) else text


def alike(gold: Reading, answer: Reading) -> bool:  # noqa: C901, PLR0911, PLR0912 - one case for each pair of kinds
    if isinstance(gold, Either):
        return any(alike(way, answer) for way in gold.ways)
    if isinstance(answer, Either):
        return any(alike(gold, way) for way in answer.ways)
    if isinstance(gold, Named) and isinstance(answer, Named):
        return alike(gold.value, answer.value) if gold.name == answer.name else related(gold, answer)
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return related(gold, answer)
    if isinstance(gold, Named):
        return alike(gold.value, answer)
    if isinstance(answer, Named):
        return alike(gold, answer.value)
    if isinstance(gold, Quantity) and isinstance(answer, Quantity):
        return quantities(gold, answer)
    if isinstance(gold, Based) or isinstance(answer, Based):
        return based(gold, answer)
    if isinstance(gold, Clock) and isinstance(answer, Clock):
        return clocks(gold, answer)
    if isinstance(gold, Ratio) or isinstance(answer, Ratio):
        return ratios(gold, answer)
    if isinstance(gold, Matrix) or isinstance(answer, Matrix):
        return matrices(gold, answer)
    if isinstance(gold, Union) and isinstance(answer, Union):
        return matched(gold.parts, answer.parts)
    if isinstance(gold, Group) and isinstance(answer, Group):
        return groups(gold, answer)
    if isinstance(gold, Group) and gold.brackets == "{}" and len(gold.parts) == 1:
        return alike(gold.parts[0], answer)
    if isinstance(answer, Group) and answer.brackets == "{}" and len(answer.parts) == 1:
        return alike(gold, answer.parts[0])
    return type(gold) is type(answer) and gold == answer and not isinstance(gold, Unread)


def matched(gold: tuple[Reading, ...], answer: tuple[Reading, ...]) -> bool:
    """Whether each part of one equals one part of the other."""
    if len(gold) != len(answer):
        return False
    left = list(answer)
    for part in gold:
        place = next((i for i, other in enumerate(left) if alike(part, other)), None)
        if place is None:
            return False
        del left[place]
    return True


def groups(gold: Group, answer: Group) -> bool:
    ours, theirs = gold.brackets, answer.brackets
    if ours == theirs == "{}":
        return matched(distinct(gold.parts), distinct(answer.parts))
    if {ours, theirs} <= {"", "{}"}:
        return matched(gold.parts, answer.parts)
    if ours != theirs and {ours, theirs} != {"", "()"}:
        return False
    return len(gold.parts) == len(answer.parts) and all(starmap(alike, zip(gold.parts, answer.parts, strict=True)))


def distinct(parts: tuple[Reading, ...]) -> tuple[Reading, ...]:
    found: list[Reading] = []
    for part in parts:
        if not any(alike(one, part) for one in found):
            found.append(part)
    return tuple(found)


def quantities(gold: Quantity, answer: Quantity) -> bool:
    ours, theirs = gold.unit, answer.unit
    if ours and theirs:
        return convertible(ours, theirs) and numbers(gold, answer, theirs.size / ours.size)
    if numbers(gold, answer):
        return True
    if theirs and theirs.measures == "percent1":
        return numbers(gold, answer, Fraction(1, 100))
    # Degrees are radians where pi says so.
    turn = Node("quotient", (Node("constant", name="pi"), number(180)))
    if ours and ours.measures == "degree1" and ("pi" in answer.value.ops or angle(theirs)):
        return values.is_equal(Node("product", (gold.value, turn)), answer.value)
    if theirs and theirs.measures == "degree1" and "pi" in gold.value.ops:
        return values.is_equal(gold.value, Node("product", (answer.value, turn)))
    return False


def angle(unit: Unit | None) -> bool:
    return unit is not None and unit.measures == "angle1"


def convertible(ours: Unit, theirs: Unit) -> bool:
    """Whether both measure the same; of unknown words one may say more."""
    if ours.measures == theirs.measures:
        return True
    one, other = set(ours.measures.split()), set(theirs.measures.split())
    return ours.size == theirs.size == 1 and (one < other or other < one) and not KNOWN_MEASURES & (one | other)


KNOWN_MEASURES = {
    f"{name}{power}" for name in ("length", "time", "mass", "degree", "dollar") for power in (-2, -1, 1, 2, 3)
}


def numbers(gold: Quantity, answer: Quantity, factor: Fraction = Fraction(1)) -> bool:
    """Equality of the values, the answer's times `factor`; a decimal may be rounded."""
    theirs = answer.value if factor == 1 else Node("product", (answer.value, number(factor)))
    if values.is_equal(gold.value, theirs):
        return True
    if (gold.digits is None) == (answer.digits is None):
        return False
    exactly, rounded = (theirs, gold.value) if gold.digits else (gold.value, theirs)
    significant, last = gold.digits or answer.digits or (0, Fraction(0))
    return significant >= SIGNIFICANT and rounds(exactly, rounded, last * (1 if gold.digits else factor))


def rounds(exactly: Node, rounded: Node, last: Fraction) -> bool:
    """Whether a real number is `rounded` to, or cut off to, a decimal whose last digit is worth `last`."""
    if exactly.variables:
        return False
    with mp.workdps(60):
        try:
            one, other = (values.number(values.evaluate(node, {}, mp.e)) for node in (exactly, rounded))
            error = abs(one - other) / values.number(last)
            return bool(error <= HALF or (error < WHOLE and abs(other) < abs(one)))
        except (ArithmeticError, TypeError):
            return False


def based(gold: Reading, answer: Reading) -> bool:
    """The same digits in the same base; without a base on one side, the same digits."""
    if isinstance(gold, Based) and isinstance(answer, Based):
        return gold == answer
    one, other = (gold, answer) if isinstance(gold, Based) else (answer, gold)
    if not isinstance(one, Based) or not isinstance(other, Quantity) or not one.digits.isdigit():
        return False
    return other.unit is None and values.is_equal(number(int(one.digits)), other.value)


def clocks(gold: Clock, answer: Clock) -> bool:
    """The same time; without am or pm on one side, the same figures."""
    if gold.minute != answer.minute:
        return False
    if gold.hour == answer.hour:
        return gold.half == answer.half or "" in (gold.half, answer.half)
    hours = {
        clock.hour % HALF_DAY + HALF_DAY * (clock.half == "pm") if clock.half else clock.hour
        for clock in (gold, answer)
    }
    return len(hours) == 1


def ratios(gold: Reading, answer: Reading) -> bool:
    """Multiples of each other; of two parts, the fraction, too."""
    sides: list[tuple[Node, ...]] = []
    for side in (gold, answer):
        if isinstance(side, Ratio):
            sides.append(side.parts)
        elif isinstance(side, Quantity) and side.unit is None:
            sides.append((side.value, number(1)))
        else:
            return False
    ours, theirs = sides
    return len(ours) == len(theirs) and all(
        values.is_equal(Node("product", (ours[0], theirs[i])), Node("product", (theirs[0], ours[i])))
        for i in range(1, len(ours))
    )


def matrices(gold: Reading, answer: Reading) -> bool:
    rows = [side.rows if isinstance(side, Matrix) else column(side) for side in (gold, answer)]
    ours, theirs = rows
    if ours is None or theirs is None or len(ours) != len(theirs) or len(ours[0]) != len(theirs[0]):
        return False
    return all(values.is_equal(x, y) for a, b in zip(ours, theirs, strict=True) for x, y in zip(a, b, strict=True))


def column(side: Reading) -> tuple[tuple[Node, ...], ...] | None:
    """A tuple as a column."""
    if not isinstance(side, Group) or side.brackets != "()":
        return None
    parts = [part.value for part in side.parts if isinstance(part, Quantity)]
    return tuple((part,) for part in parts) if len(parts) == len(side.parts) else None


def related(gold: Reading, answer: Reading) -> bool:
    """Equations and inequalities between formulas; a value equals what an equation says its left side is."""
    if isinstance(answer, Relation) and answer.sign == "=" and isinstance(gold, Quantity):
        return bool(answer.left.variables) and not answer.right.variables and values.is_equal(gold.value, answer.right)
    ours, theirs = as_relation(gold), as_relation(answer)
    if ours is None or theirs is None or ours.sign != theirs.sign:
        return False
    one = Node("sum", (ours.left, Node("negative", (ours.right,))))
    other = Node("sum", (theirs.left, Node("negative", (theirs.right,))))
    if one.variables != other.variables:
        return False
    scale = proportion(one, other)
    return scale is not None and (scale > 0 or ours.sign in ("=", "!="))


def as_relation(side: Reading) -> Relation | None:
    """An equation of a name and a formula, too."""
    if isinstance(side, Relation):
        return side
    if isinstance(side, Named) and isinstance(side.value, Quantity):
        name = read(side.name)
        if isinstance(name, Quantity):
            return Relation("=", name.value, side.value.value)
    return None


def proportion(one: Node, other: Node) -> Fraction | None:
    """The sign of a constant by which one formula is the other times it; None if there is none."""
    point = next(values.points(sorted(one.variables), whole=False))
    try:
        fixed = values.at(one, point, mp.e), values.at(other, point, mp.e)
        if not all(value.real for value in fixed) or not fixed[0].to(60) or not fixed[1].to(60):
            return None
    except values.UndefinedError:
        return None
    constants = [pinned(node, point) for node in (one, other)]
    if not values.is_equal(Node("product", (one, constants[1])), Node("product", (other, constants[0]))):
        return None
    return Fraction(1 if fixed[0].to(60) * fixed[1].to(60) > 0 else -1)


def pinned(node: Node, point: values.Point) -> Node:
    """A formula with numbers in the place of its variables."""
    if node.op == "variable":
        return number(point[node.name])
    return Node(node.op, tuple(pinned(arg, point) for arg in node.args), node.value, node.name)
