"""Whether two formulas are equal: by exact fractions where they go, else by many digits, at several points.

Two formulas with variables are equal if they are at random points, as polynomials are; a difference that is zero to
40 digits relative to the size, and to 110 when computed with more, is zero. There is no absolute tolerance.
"""

import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import reduce
from math import comb, factorial, gcd, lcm
from typing import Any

import mpmath
from mpmath import mp, mpf

from tipx.grading.mathematics.expressions import Node

Point = dict[str, Fraction]
MOST_BITS = 400_000
"""Of an exact number: a power that has more is computed to many digits, not exactly."""
MOST_EXPONENT = 10**15
"""A power above has more digits than anybody can count."""
MOST_FACTORIAL = 20_000
PRECISIONS = ((60, 40), (150, 110))
"""Decimal digits computed with, and the digits to which a zero must be one."""
LARGEST = 20_000
"""Decimal digits that are added for a large number, so that its last ones are seen."""
POINTS = 8
ENOUGH = 3
"""Points that must say something."""
WHOLE = frozenset({"floor", "ceil", "factorial", "double factorial", "binomial", "gcd", "lcm"})
TRIGONOMETRIC = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
COUNTERS = frozenset("ijklmnpqKLMN")
"""Names that stand for whole numbers where a formula says that some do; t is a time."""


class UndefinedError(ArithmeticError):
    """There is no such number, or it is too large to be looked at."""


def is_equal(ours: Node, theirs: Node) -> bool:
    r"""Whether two formulas are equal; what has no value equals nothing.

    Without a base, \log may be the natural or the decimal logarithm, the same one on both sides.
    """
    if ours == theirs:
        return True
    bases = (mp.e, 10) if "log" in ours.ops | theirs.ops else (mp.e,)
    return any(is_equal_with(ours, theirs, base) for base in bases)


def is_equal_with(ours: Node, theirs: Node, base: Any) -> bool:
    equal_at = 0
    imaginary = "i" in ours.ops | theirs.ops
    names = sorted(ours.variables | theirs.variables)
    for point in points(names, whole=counts(ours, names) or counts(theirs, names)):
        try:
            one, other = at(ours, point, base), at(theirs, point, base)
            if one.same(other):
                equal_at += 1
            elif not names or imaginary or (one.real and other.real):
                return False
            # Roots of negative numbers: what holds for real values is taken to hold.
        except UndefinedError:
            continue
    return equal_at >= (ENOUGH if names else 1)


def points(names: list[str], *, whole: bool) -> Iterator[Point]:
    """Where to look; the same at every call."""
    rng = random.Random(7)  # noqa: S311 - no secret is made
    for place in range(POINTS if names else 1):
        if whole:
            yield {name: Fraction(rng.randrange(1, 9)) for name in names}
        else:
            # Half of them positive only, where roots and logarithms are real.
            yield {
                name: Fraction(rng.randrange(2, 40), 13) * (1 if place % 2 == 0 else rng.choice((1, -1)))
                for name in names
            }


def counts(node: Node, names: list[str]) -> bool:
    """Whether its variables are whole numbers: some functions say so, and some powers."""
    if not COUNTERS.issuperset(names):
        return False
    ops = node.ops
    if ops & WHOLE or (ops & TRIGONOMETRIC and "pi" in ops):
        return True
    return any(part.op == "power" and part.args[0].op == "negative" and part.args[1].variables for part in node.walk())


class Value:
    """A formula at a point, to any precision."""

    def __init__(self, compute: Callable[[], Any]) -> None:
        self.compute = compute
        self.seen: dict[int, Any] = {}

    def to(self, digits: int) -> Any:
        """An exact Fraction, or a number of mpmath with about so many digits; raises UndefinedError."""
        if digits not in self.seen:
            with mp.workdps(digits):
                self.seen[digits] = self.compute()
        return self.seen[digits]

    @property
    def real(self) -> bool:
        value = self.to(PRECISIONS[0][0])
        return not isinstance(value, mpmath.mpc) or abs(value.imag) <= abs(value) * mpf(10) ** -PRECISIONS[0][1]

    def same(self, other: "Value") -> bool:
        """Whether two are equal, relative to their size."""
        for digits, zero in PRECISIONS:
            one, two = self.to(digits), other.to(digits)
            if isinstance(one, Fraction) and isinstance(two, Fraction):
                return one == two
            if mpmath.isinf(number(one)) or mpmath.isinf(number(two)):
                return bool(number(one) == number(two))
            with mp.workdps(digits):
                size = max(abs(number(one)), abs(number(two)))
                # A sine of pi, against a zero.
                if size < mpf(10) ** -zero and (not one or not two):
                    continue
                if abs(number(one) - number(two)) > size * mpf(10) ** -zero:
                    return False
                # Of a large number every digit before the point counts.
                more = min(max(int(mpmath.log10(size)), 0), LARGEST)
            with mp.workdps(digits + more):
                difference = abs(number(self.to(digits + more)) - number(other.to(digits + more)))
                if difference > size * mpf(10) ** -(zero + more):
                    return False
        return True


def at(node: Node, point: Point, base: Any) -> Value:
    """Raises UndefinedError if there is no value."""
    value = Value(lambda: evaluate(node, point, base))
    value.to(PRECISIONS[0][0])
    return value


def exact(node: Node) -> Fraction | None:
    """The value of a formula that is a fraction; None if it is none."""
    if node.variables:
        return None
    try:
        value = at(node, {}, mp.e).to(PRECISIONS[0][0])
    except UndefinedError:
        return None
    return value if isinstance(value, Fraction) else None


def evaluate(node: Node, point: Point, base: Any) -> Any:
    """With the precision that mpmath is set to; raises UndefinedError."""
    try:
        value = compute(node, point, base)
    except (ZeroDivisionError, ValueError, OverflowError, TypeError, MemoryError, RecursionError) as error:
        raise UndefinedError(str(error)) from error
    if not isinstance(value, Fraction) and mpmath.isnan(value):
        raise UndefinedError("no number")
    return value


def number(value: Any) -> Any:
    """For mpmath."""
    return mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def compute(node: Node, point: Point, base: Any) -> Any:  # noqa: PLR0911 - one case for each kind of node
    if node.op == "number":
        return node.value
    if node.op == "variable":
        return point[node.name]
    if node.op == "constant":
        return {"pi": +mp.pi, "e": +mp.e, "i": mpmath.mpc(0, 1), "infinity": mp.inf}[node.name]
    args = [compute(arg, point, base) for arg in node.args]
    if node.op == "negative":
        return -args[0]
    if node.op == "power":
        return power(*args)
    if node.op == "function":
        return function(node.name, args, base)
    if not all(isinstance(arg, Fraction) for arg in args):
        args = [number(arg) for arg in args]
    if node.op == "sum":
        return sum(args[1:], args[0])
    if node.op == "product":
        return args[0] * args[1]
    return args[0] / args[1]


def bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def power(base: Any, exponent: Any) -> Any:
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        if abs(exponent) > MOST_EXPONENT:
            raise UndefinedError("too large a power")
        if isinstance(base, Fraction):
            if bits(base) * abs(exponent) < MOST_BITS:
                return base ** int(exponent)
            base = number(base)
        if not base and exponent < 0:
            raise UndefinedError("a power of zero")
        return base ** int(exponent)
    if isinstance(exponent, Fraction):
        return root(base, exponent.denominator) ** exponent.numerator if base else Fraction(0)
    if abs(exponent) > MOST_EXPONENT and not mpmath.isinf(exponent):
        raise UndefinedError("too large a power")
    return mpmath.power(number(base), exponent)


def root(base: Any, degree: int) -> Any:
    """The real one if there is one."""
    if degree > MOST_FACTORIAL:
        raise UndefinedError("too high a root")
    if not isinstance(base, mpmath.mpc) and base < 0 and degree % 2:
        return -root(-base, degree)
    if isinstance(base, Fraction) and base >= 0 and bits(base) < MOST_BITS:
        above, below = (whole_root(part, degree) for part in (base.numerator, base.denominator))
        if above is not None and below is not None:
            return Fraction(above, below)
    return mpmath.root(number(base), degree)


def whole_root(value: int, degree: int) -> int | None:
    if value < 2:
        return value
    with mp.workdps(value.bit_length() // 3 // degree + 20):
        near = int(mpmath.nint(mpmath.root(value, degree)))
    return near if near**degree == value else None


def function(name: str, args: list[Any], base: Any) -> Any:  # noqa: C901, PLR0911, PLR0912 - one case for each function
    first = args[0]
    if name == "absolute":
        return abs(first)
    if name in ("floor", "ceil"):
        value = first if isinstance(first, Fraction) else getattr(mpmath, name)(first)
        return Fraction(getattr(value, f"__{name}__")()) if isinstance(value, Fraction) else value
    if name in ("max", "min"):
        return (max if name == "max" else min)(args, key=number)
    if name in ("gcd", "lcm"):
        return Fraction(reduce(gcd if name == "gcd" else lcm, [whole(arg) for arg in args]))
    if name == "root":
        if not isinstance(args[1], Fraction):
            return mpmath.power(number(first), 1 / args[1])
        return power(first, 1 / args[1])
    if name == "factorial":
        if isinstance(first, Fraction) and first.denominator == 1 and 0 <= first <= MOST_FACTORIAL:
            return Fraction(factorial(int(first)))
        if abs(first) > MOST_EXPONENT:
            raise UndefinedError("too large a factorial")
        return mpmath.factorial(number(first))
    if name == "double factorial":
        if whole(first) > MOST_FACTORIAL:
            raise UndefinedError("too large a factorial")
        return Fraction(reduce(lambda x, y: x * y, range(whole(first), 0, -2), 1))
    if name == "binomial":
        if all(isinstance(arg, Fraction) and arg.denominator == 1 and 0 <= arg <= MOST_FACTORIAL for arg in args):
            return Fraction(comb(int(first), int(args[1])))
        if max(abs(number(arg)) for arg in args) > MOST_EXPONENT:
            raise UndefinedError("too large a binomial")
        return mpmath.binomial(number(first), number(args[1]))
    if name == "log":
        return mpmath.log(number(first)) / mpmath.log(base)
    if name == "log10":
        return mpmath.log10(number(first))
    if abs(first) > MOST_EXPONENT and not mpmath.isinf(first):
        raise UndefinedError(f"too large for {name}")
    names = {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}
    return getattr(mpmath, names.get(name, name))(number(first))


def whole(value: Any) -> int:
    """Raises ValueError for what is no whole number."""
    if not isinstance(value, Fraction) or value.denominator != 1:
        raise ValueError("no whole number")
    return int(value)
