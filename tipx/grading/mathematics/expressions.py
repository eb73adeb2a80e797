r"""From tokens to a formula. A token that has no place in the grammar is an error: nothing is skipped.

Grammar, from the loosest: sums, quotients and products from left to right, products without a sign (they bind as
tightly: 1/2x is x/2), signs, powers, factorials, atoms. `\sin 2x` takes the whole product, `\sin(2x) y` the bracket.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from tipx.grading.mathematics import notation
from tipx.grading.mathematics.tokens import Token, Tokens

ACCENTS = {"\\overline", "\\bar", "\\hat", "\\vec", "\\dot", "\\ddot", "\\tilde", "\\widehat", "\\overrightarrow"}
GREEK = {f"\\{name}" for name in notation.GREEK.values() if name != "pi"}
GREEK |= {"\\Upsilon", "\\hbar", "\\ell", "\\odot", "\\partial", "\\nabla", "\\angle", "\\triangle"}
"""Commands that stand for a name."""
FUNCTIONS = {f"\\{name}" for name in ("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan")}
FUNCTIONS |= {f"\\{name}" for name in ("sinh", "cosh", "tanh", "log", "ln", "lg", "exp")}
SEVERAL = {"\\max": "max", "\\min": "min", "\\gcd": "gcd", "\\lcm": "lcm"}
MOST_EXPONENT = 10_000
"""Of ten, in a number such as 4.5e33."""


class UnreadableExpressionError(ValueError):
    """The tokens are no formula."""


@dataclass(frozen=True)
class Node:
    """`op` on `args`; a number has a `value`, a variable, a constant and a function a `name`."""

    op: str
    args: tuple["Node", ...] = ()
    value: Fraction = Fraction(0)
    name: str = ""

    def walk(self) -> Iterator["Node"]:
        """This node and all below it."""
        yield self
        for arg in self.args:
            yield from arg.walk()

    @property
    def variables(self) -> frozenset[str]:
        return frozenset(node.name for node in self.walk() if node.op == "variable")

    @property
    def ops(self) -> frozenset[str]:
        """What is done in it: operators, and names of functions and constants."""
        return frozenset(node.name if node.op in ("constant", "function") else node.op for node in self.walk())


def number(value: Fraction | int) -> Node:
    return Node("number", value=Fraction(value))


def literal(text: str) -> Node:
    """A number as it is written; raises UnreadableError for one too large to be held."""
    exponent = text.lower().partition("e")[2]
    if exponent and abs(int(exponent)) > MOST_EXPONENT:
        raise UnreadableExpressionError("too large a number")
    return number(Fraction(text))


def formula(pieces: Tokens) -> Node:
    """Of all tokens; raises UnreadableError."""
    try:
        return Parser(pieces).whole()
    except RecursionError as error:
        raise UnreadableExpressionError("the formula is too deep") from error


class Parser:
    """Recursive descent over tokens."""

    def __init__(self, pieces: Tokens) -> None:
        self.pieces = list(pieces)
        self.place = 0

    @property
    def next(self) -> Token | None:
        return self.pieces[self.place] if self.place < len(self.pieces) else None

    @property
    def text(self) -> str:
        """Of the next token, "" for words and at the end."""
        return "" if self.next is None or self.next.kind == "words" else self.next.text

    def take(self, *texts: str) -> bool:
        """Step over the next token if it is one of these."""
        there = self.text in texts and self.next is not None
        self.place += there
        return there

    def need(self, text: str) -> None:
        if not self.take(text):
            raise UnreadableExpressionError(f"expected {text!r} at token {self.place} of {len(self.pieces)}")

    def whole(self) -> Node:
        found = self.older(self.sum())
        if self.next is not None:
            raise UnreadableExpressionError(f"{self.next.text!r} has no place in a formula")
        return found

    def sum(self) -> Node:
        terms = [self.product()]
        while self.text in ("+", "-"):
            minus = self.take("-") or not self.take("+")
            term = self.product()
            terms.append(Node("negative", (term,)) if minus else term)
        return terms[0] if len(terms) == 1 else Node("sum", tuple(terms))

    def product(self) -> Node:
        found = self.signed()
        while True:
            if self.take("\\cdot", "\\times", "*"):
                found = Node("product", (found, self.signed()))
            elif self.take("/"):
                found = Node("quotient", (found, self.signed()))
            elif self.starts_factor():
                if (
                    self.next is not None
                    and self.next.kind == "number"
                    and self.pieces[self.place - 1].text not in ")i"
                ):
                    raise UnreadableExpressionError("a number stands right after a factor")  # `2 3`, `x2`
                found = self.mixed(found) or Node("product", (found, self.power()))
            else:
                return found

    def mixed(self, whole: Node) -> Node | None:
        r"""`3\frac{1}{2}` is a number and no product."""
        before = self.pieces[self.place - 1]
        if self.text != "\\frac" or before.kind != "number" or whole.value.denominator != 1:
            return None
        if whole.op not in ("number", "negative"):
            return None
        start = self.place
        part = self.power()
        numbers = [arg for arg in part.args if arg.op == "number" and arg.value.denominator == 1]
        if part.op == "quotient" and len(numbers) == 2 and 0 < numbers[0].value < numbers[1].value:
            if whole.op == "negative":
                return Node("negative", (Node("sum", (whole.args[0], part)),))
            return Node("sum", (whole, part))
        self.place = start
        return None

    def signed(self) -> Node:
        if self.take("-"):
            return Node("negative", (self.signed(),))
        if self.take("+"):
            return self.signed()
        return self.power()

    def starts_factor(self) -> bool:
        token = self.next
        if token is None:
            return False
        if token.kind in ("number", "letter"):
            return True
        if token.kind == "words":
            return len(token.text) == 1
        return (
            token.text in ("(", "[", "{", "\\lfloor", "\\lceil", "\\frac", "\\sqrt", "\\binom", "\\pi", "\\infty")
            or token.text in FUNCTIONS | SEVERAL.keys() | GREEK | ACCENTS
            or (token.text == "|" and self.opens_absolute())
        )

    def opens_absolute(self) -> bool:
        """A bar opens if no bar is open: those inside are counted by `atom`."""
        return self.bars == 0

    bars = 0

    def power(self) -> Node:
        found = self.postfix(self.atom())
        raised = False
        while self.take("^"):
            if self.circle():
                found = degrees(found)
            elif raised:
                raise UnreadableExpressionError("two powers of one number")  # `2^3^2`
            else:
                found, raised = Node("power", (found, self.script())), True
            found = self.postfix(found)
        return found

    def circle(self) -> bool:
        r"""Step over {\circ}."""
        there = [token.text for token in self.pieces[self.place : self.place + 3]] == ["{", "\\circ", "}"]
        self.place += 3 * there
        return there

    def postfix(self, found: Node) -> Node:
        while self.text == "!":
            self.place += 1
            if self.text == "!" and self.next is not None and not self.next.spaced:
                self.place += 1
                found = Node("function", (found,), name="double factorial")
            else:
                found = Node("function", (found,), name="factorial")
        return found

    def script(self) -> Node:
        """What stands raised: a group, or one signed atom. `2^10` is 1024, though LaTeX would raise the 1 only."""
        if self.text == "{":
            return self.group("{", "}")
        if self.take("-"):
            return Node("negative", (self.script(),))
        if self.text in FUNCTIONS or self.text == "\\frac":
            return self.atom()
        token = self.next
        if token is not None and token.kind == "number":
            self.place += 1
            return literal(token.text)
        return self.postfix(self.atom())

    def group(self, opening: str, closing: str) -> Node:
        self.need(opening)
        bars, self.bars = self.bars, 0
        found = self.older(self.sum())
        self.bars = bars
        self.need(closing)
        return found

    def older(self, found: Node) -> Node:
        r"""`{a \over b}` and `{n \choose k}` are older ways to write one thing of two."""
        if self.take("\\over"):
            return Node("quotient", (found, self.sum()))
        if self.take("\\choose"):
            return Node("function", (found, self.sum()), name="binomial")
        return found

    def argument(self) -> Node:
        r"""Of \frac and the like: a group, or one digit, letter or command."""
        if self.text == "{":
            return self.group("{", "}")
        token = self.next
        if token is not None and token.kind == "number" and "." not in token.text and len(token.text) > 1:
            self.pieces[self.place : self.place + 1] = [Token("number", token.text[0]), Token("number", token.text[1:])]
        if token is not None and token.kind == "number":
            self.place += 1
            return literal(self.pieces[self.place - 1].text)
        return self.atom()

    def atom(self) -> Node:  # noqa: C901, PLR0911, PLR0912 - one case for each kind of token
        token = self.next
        if token is None:
            raise UnreadableExpressionError("the formula ends too early")
        if token.kind == "number":
            self.place += 1
            return literal(token.text)
        if token.kind == "letter" or (token.kind == "words" and len(token.text) == 1):
            return self.variable()
        text = token.text if token.kind != "words" else ""
        if text == "(":
            return self.group("(", ")")
        if text == "[":
            return self.group("[", "]")
        if text == "{":
            return self.group("{", "}")
        if text == "|":
            return self.absolute()
        if text in ("\\lfloor", "\\lceil"):
            return Node("function", (self.group(text, text.replace("l", "r", 1)),), name=text[2:])
        if self.take("\\pi"):
            return Node("constant", name="pi")
        if self.take("\\infty"):
            return Node("constant", name="infinity")
        if self.take("\\frac"):
            return self.fraction()
        if self.take("\\binom"):
            return Node("function", (self.argument(), self.argument()), name="binomial")
        if self.take("\\sqrt"):
            return self.root()
        if text in FUNCTIONS:
            return self.function()
        if text in SEVERAL:
            return self.several()
        if text in GREEK | ACCENTS:
            return self.variable()
        raise UnreadableExpressionError(f"{token.text!r} is no part of a formula")

    def absolute(self) -> Node:
        self.need("|")
        self.bars += 1
        found = self.sum()
        self.need("|")
        self.bars -= 1
        return Node("function", (found,), name="absolute")

    def fraction(self) -> Node:
        start = self.place
        above = self.argument()
        middle = self.place
        below = self.argument()
        top, bottom = self.pieces[start:middle], self.pieces[middle : self.place]
        if is_differential(top) and is_differential(bottom):
            return Node("variable", name="".join(token.text for token in [*top, *bottom]))
        return Node("quotient", (above, below))

    def root(self) -> Node:
        if self.text == "[":
            degree = self.group("[", "]")
            return Node("function", (self.argument(), degree), name="root")
        return Node("function", (self.argument(), number(2)), name="root")

    def function(self) -> Node:
        name = self.pieces[self.place].text[1:]
        self.place += 1
        base: Node | None = None
        raised: Node | None = None
        while self.text in ("_", "^"):
            if self.take("_"):
                base = self.argument()
            else:
                self.need("^")
                raised = self.script()
        inside = self.inside()
        if raised is not None and raised == Node("negative", (number(1),)) and f"\\arc{name}" in FUNCTIONS:
            return Node("function", (inside,), name=f"arc{name}")
        if base is not None:
            if name != "log":
                raise UnreadableExpressionError(f"{name} has no base")
            found = Node("quotient", (Node("function", (inside,), name="ln"), Node("function", (base,), name="ln")))
        else:
            found = Node("function", (inside,), name={"lg": "log10"}.get(name, name))
        if raised is None and self.take("^"):  # `\sin(x)^2`
            raised = self.script()
        return found if raised is None else Node("power", (found, raised))

    def inside(self) -> Node:
        """What a function is taken of: a bracket, or a product up to the next sign or function."""
        if self.text in ("(", "{", "["):
            closing = {"(": ")", "{": "}", "[": "]"}[self.text]
            return self.group(self.text, closing)
        if self.take("-"):
            return Node("negative", (self.inside(),))
        found = self.power()
        while self.starts_factor() and self.text not in FUNCTIONS:
            if self.next is not None and self.next.kind == "number":
                raise UnreadableExpressionError("a number stands right after a factor")
            found = Node("product", (found, self.power()))
        return found

    def several(self) -> Node:
        name = SEVERAL[self.text]
        self.place += 1
        closing = {"(": ")", "\\{": "\\}"}.get(self.text)
        if closing is None:
            raise UnreadableExpressionError(f"{name} needs a bracket")
        self.place += 1
        args = [self.sum()]
        while self.take(","):
            args.append(self.sum())
        self.need(closing)
        return Node("function", tuple(args), name=name)

    def variable(self) -> Node:
        """A letter with its accent, index and primes; e and i are numbers where they have none."""
        token = self.pieces[self.place]
        self.place += 1
        name = token.text
        if name in ACCENTS or name in ("\\angle", "\\triangle"):
            name += self.raw()
        if self.take("_"):
            name += "_" + self.raw()
        while self.take("'"):
            name += "'"
        while [t.text for t in self.pieces[self.place : self.place + 3]] == ["^", "{", "'"]:
            self.place += 2
            while self.take("'"):
                name += "'"
            self.need("}")
        called = self.pieces[self.place : self.place + 3]
        if [t.text for t in called[::2]] == ["(", ")"] and called[1].kind == "number":  # f(0) is no product
            self.place += 3
            name += f"({called[1].text})"
        if name in ("e", "i"):
            return Node("constant", name=name)
        return Node("variable", name=name)

    def raw(self) -> str:
        """The text of a group or of one token, as a part of a name."""
        if not self.take("{"):
            if self.next is None:
                raise UnreadableExpressionError("a name ends too early")
            self.place += 1
            return self.pieces[self.place - 1].text
        depth, found = 1, ""
        while depth:
            if self.next is None:
                raise UnreadableExpressionError("a name ends too early")
            depth += (self.next.text == "{") - (self.next.text == "}")
            found += self.next.text if depth else ""
            self.place += 1
        return found


def degrees(found: Node) -> Node:
    return Node("product", (found, Node("quotient", (Node("constant", name="pi"), number(180)))))


def is_differential(pieces: Tokens) -> bool:
    """Whether it is the top or bottom of a derivative, such as {d v} or {d t^2}."""
    plain = all(token.kind in ("letter", "number") or token.text in GREEK | {"{", "}", "^"} for token in pieces)
    return plain and len(pieces) > 2 and pieces[1].text in ("d", "\\partial")
