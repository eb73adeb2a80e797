r"""What an answer is: a quantity, a list, an interval, an equation, a matrix, words ... and what stands in it.

Every token is read, or the answer is `Unread` and equals only what is written alike.
"""

import re
from dataclasses import replace

from tipx.grading.mathematics.expressions import GREEK, Node, UnreadableExpressionError, formula, number
from tipx.grading.mathematics.kinds import (
    Based,
    Clock,
    Dots,
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
from tipx.grading.mathematics.quantities import bare, quantity
from tipx.grading.mathematics.tokens import CLOSING, OPENING, Token, Tokens, enclosed, split, tokens
from tipx.grading.mathematics.values import is_equal

RELATIONS = {"=": "=", "<": "<", ">": ">", "\\le": "<=", "\\ge": ">=", "\\ne": "!=", "\\in": "in", "\\approx": "~"}
RELATIONS |= {"\\equiv": "="}
TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
LINKS = {"and", "or"}
SIGNS = {"+", "-", "*", "/", "\\cdot", "\\times"}
LONGEST_NAME = 14
"""Tokens of what may stand before an equals sign and only names the value."""


INFINITY = Node("constant", name="infinity")
REALS = Group("()", (Quantity(Node("negative", (INFINITY,))), Quantity(INFINITY)))
BASED = re.compile(r"(-?)[({]?\s*([0-9A-F]+)\s*[)}]?\s*_\s*(?:\{\s*)?(?:(\d+)|\\text\{(\w+)\})\s*\}?")
BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
BASES |= {"eleven": 11, "twelve": 12, "sixteen": 16}
CLOCK = re.compile(r"(\d{1,2}):(\d\d)\s*(?:\\text\{\s*)?([ap])?\.?\s*(?:\\text\{\s*)?(m)?\.?\s*\}?\s*", re.IGNORECASE)
THOUSANDS = re.compile(r"[+-]?\s*\d{1,3}(?:,[1-9]\d\d)+(?:\.\d+)?")
ENVIRONMENT = re.compile(r"\s*\{(p|b|B|v|V|small)?matrix\}|\s*\{array\}\s*\{[clr| ]*\}")


def read(text: str) -> Reading:
    """An answer."""
    plain = canonical(text)
    if (found := BASED.fullmatch(plain)) and not re.fullmatch("[A-F]", found[2]):
        base = int(found[3]) if found[3] else BASES.get(found[4].lower(), 0)
        if 2 <= base <= 36 and all(int(digit, 36) < base for digit in found[2]):
            return Based(found[1] + (found[2].lstrip("0") or "0"), base)
        return Unread()
    if (found := CLOCK.fullmatch(plain)) and int(found[1]) < 25 and int(found[2]) < 60:
        return Clock(int(found[1]), int(found[2]), f"{found[3].lower()}m" if found[3] else "")
    pieces = joined(tokens(plain))
    # 1,234 is a number, and yet may have been meant for two.
    if THOUSANDS.fullmatch(plain):
        return Either((item(pieces), item(tokens(plain))))
    return item(pieces)


def joined(pieces: list[Token]) -> list[Token]:
    """Numbers with a comma before every three digits in one piece.

    In brackets, and beside other commas, only where those are followed by a blank.
    """
    commas: dict[str, list[int]] = {}
    open_brackets = [""]
    for place, token in enumerate(pieces):
        if token.text in CLOSING and len(open_brackets) > 1:
            open_brackets.pop()
        elif token.text in OPENING:
            open_brackets.append(token.text)
        elif token.text == ",":
            commas.setdefault(open_brackets[-1], []).append(place)
    found: list[Token] = []
    inside = {place for kind, places in commas.items() for place in thousands(pieces, kind, places)}
    for place, token in enumerate(pieces):
        if place in inside:
            continue
        if place - 1 in inside:
            found[-1] = replace(found[-1], text=found[-1].text + token.text)
        else:
            found.append(token)
    return found


def thousands(pieces: Tokens, bracket: str, commas: list[int]) -> list[int]:
    """Those commas in one kind of bracket that stand in a number."""
    tight = [place for place in commas if is_thousands(pieces, place)]
    loose = [
        place for place in commas if place not in tight and pieces[place + 1 : place + 2] and pieces[place + 1].spaced
    ]
    if len(tight) + len(loose) < len(commas):
        return []
    return tight if bracket in ("", "{") or loose else []


def is_thousands(pieces: Tokens, place: int) -> bool:
    """Whether a comma stands in a number."""
    if not 0 < place < len(pieces) - 1:
        return False
    before, comma, after = pieces[place - 1 : place + 2]
    first = place < 2 or pieces[place - 2].text != ","
    fits = re.fullmatch(r"[1-9]\d{0,2}" if first else r"\d{1,3}", before.text)
    return bool(fits and re.fullmatch(r"\d{3}(\.\d+)?", after.text) and not comma.spaced and not after.spaced)


def item(pieces: Tokens) -> Reading:  # noqa: PLR0911 - one case for each kind of answer
    """What some tokens are together."""
    pieces = bare(pieces)
    if not pieces:
        return Unread()
    several = [part for part in split(pieces, lambda place: is_separator(pieces, place)) if part]
    if len(several) > 1:
        return listed(several)
    pieces = several[0] if several else pieces
    unions = split(pieces, lambda place: pieces[place].text == "\\cup")
    if len(unions) > 1:
        return Union(tuple(item(part) for part in unions))
    signs = [token.text for token in outside(pieces) if token.kind != "words" and token.text in RELATIONS]
    if signs:
        return related(split(pieces, lambda place: is_relation(pieces[place])), [RELATIONS[sign] for sign in signs])
    if len(pieces) == 1 and pieces[0].text == "\\ldots":
        return Dots()
    if pieces[0].text != "\\{" and any(token.text in ("\\pm", "\\mp") for token in pieces):
        return plus_and_minus(pieces)
    for reader in (whole_set, bracketed, matrix, ratio, quantity):
        found = reader(pieces)
        if found is not None:
            return found
    return words(pieces)


def is_separator(pieces: Tokens, place: int) -> bool:
    """A comma, a semicolon, or the word and, or."""
    token = pieces[place]
    if token.kind == "words":
        return re.sub("[^a-z]", "", token.text.lower()) in LINKS
    if token.kind == "letter":  # a bare word
        return (
            letters_of(pieces, place) in LINKS
            or letters_of(pieces, place - 1) in LINKS
            or (letters_of(pieces, place - 2) in LINKS)
        )
    return token.text in (",", ";") and token.kind == "sign"


def letters_of(pieces: Tokens, start: int) -> str:
    """The word of bare letters that begins at a place, after a blank."""
    if start < 0 or not pieces[start].spaced or pieces[start].kind != "letter":
        return ""
    end = start + 1
    while end < len(pieces) and pieces[end].kind == "letter" and not pieces[end].spaced:
        end += 1
    return "".join(token.text for token in pieces[start:end])


def outside(pieces: Tokens) -> list[Token]:
    """Tokens outside all brackets."""
    found: list[Token] = []
    depth = 0
    for token in pieces:
        depth += (token.text in OPENING) - (token.text in CLOSING)
        if depth == 0:
            found.append(token)
    return found


def listed(parts: list[list[Token]]) -> Reading:
    found: list[Reading] = []
    for part in parts:
        one = item(part)
        found += one.parts if isinstance(one, Group) and one.brackets == "" else [one]
    pieces = [one.value if isinstance(one, Named) else one for one in found]
    names = {one.name for one in found if isinstance(one, Named)}
    # x < 2 or x > 3
    if (
        len(names) <= 1
        and all(isinstance(one, Group | Union) for one in pieces)
        and all(is_inequality(part) for part in parts)
    ):
        return Union(tuple(pieces))
    return Group("", tuple(found))


def is_relation(token: Token) -> bool:
    return token.kind != "words" and token.text in RELATIONS


def is_inequality(pieces: Tokens) -> bool:
    return any(is_relation(token) and token.text != "=" for token in pieces)


def plus_and_minus(pieces: Tokens) -> Reading:
    """Both values."""
    both = [{"\\pm": "+", "\\mp": "-"}, {"\\pm": "-", "\\mp": "+"}]
    ways = [[Token("sign", by[t.text], t.spaced) if t.text in by else t for t in pieces] for by in both]
    return Group("", tuple(item(way) for way in ways))


def related(sides: list[list[Token]], signs: list[str]) -> Reading:  # noqa: PLR0911 - one case for each kind
    """Equations and inequalities."""
    if "~" in signs:
        # What is about the same: the exact value, or the rounded one.
        place = signs.index("~")
        first = related(sides[: place + 1], signs[:place]) if place else (item(sides[0]) if sides[0] else Unread())
        second = item(sides[-1])
        return second if not sides[0] or is_name(sides[0]) else Either((first, second))
    if not all(sides):
        return Unread()
    if len(sides) == 2 and signs == ["in"]:
        return Named(written(sides[0]), item(sides[1]))
    if set(signs) == {"="}:
        return equation(sides)
    if found := interval(sides, signs):
        return found
    try:
        left, right = (formula(side) for side in sides)
    except ValueError:
        return Unread()
    sign = signs[0]
    return Relation(TURNED[sign], right, left) if sign in (">", ">=") else Relation(sign, left, right)


def equation(sides: list[list[Token]]) -> Reading:
    """A name and its value, or two formulas."""
    name = written(sides[0]) if is_name(sides[0]) else None
    last = item(sides[-1])
    if name is not None and len(sides) == 2:
        return Named(name, last)
    try:
        formulas = [formula(side) for side in sides[name is not None :]]
    except UnreadableExpressionError:
        return Unread()
    # x = 10/2 = 5 says 5, and so does 10/2 = 5; x = 3 = 5 and 3 = 5 say nothing.
    constant = not any(one.variables for one in formulas)
    if not all(is_equal(one, formulas[-1]) for one in formulas[0 if name or constant else 1 :]):
        return Unread()
    if name is not None:
        return Named(name, last)
    return last if constant else Relation("=", formulas[0], formulas[-1])


def is_name(pieces: Tokens) -> bool:
    """Whether what stands before an equals sign only names: x, f(x), S_n, AB, |AB|, Area."""
    if not pieces or len(pieces) > LONGEST_NAME or pieces[0].kind == "number":
        return False
    for place, token in enumerate(pieces):
        if token.kind == "number" and not any(t.text in ("(", "_", "{", "[") for t in pieces[:place]):
            return False
        raised = token.text == "^" and [t.text for t in pieces[place + 1 : place + 3]] != ["{", "'"]
        if (raised or token.text in SIGNS | {"\\frac", "\\sqrt", "!"}) and token.kind != "words":
            return False
    return any(token.kind in ("letter", "words") or token.text in GREEK for token in pieces)


def written(pieces: Tokens) -> str:
    """Tokens as one text, without braces and blanks."""
    return "".join(token.text for token in pieces if token.text not in ("{", "}") or token.kind == "words")


def interval(sides: list[list[Token]], signs: list[str]) -> Reading | None:
    """Of an inequality that bounds one name: 0 <= x < 1, x > 5, x != 3; None if it is none."""
    if len(sides) == 3 and is_name(sides[1]):
        return between(sides, signs)
    if len(sides) != 2:
        return None
    (name, end), sign = sides, signs[0]
    if not is_name(name):
        name, end, sign = end, name, TURNED.get(sign, sign)
    bound = quantity(end)
    if not is_name(name) or not isinstance(bound, Quantity) or bound.value.variables:
        return None
    below = Group("(" + ("]" if sign == "<=" else ")"), (REALS.parts[0], bound))
    above = Group(("[" if sign == ">=" else "(") + ")", (bound, REALS.parts[1]))
    if sign == "!=":
        return Named(written(name), Union((below, above)))
    return Named(written(name), below if sign in ("<", "<=") else above)


def between(sides: list[list[Token]], signs: list[str]) -> Reading | None:
    """Of a name between two bounds, from either side."""
    if {*signs} <= {">", ">="}:
        sides, signs = sides[::-1], [TURNED[sign] for sign in reversed(signs)]
    low, high = quantity(sides[0]), quantity(sides[2])
    if not {*signs} <= {"<", "<="} or not isinstance(low, Quantity) or not isinstance(high, Quantity):
        return None
    brackets = ("[" if signs[0] == "<=" else "(") + ("]" if signs[1] == "<=" else ")")
    return Named(written(sides[1]), Group(brackets, (low, high)))


def whole_set(pieces: Tokens) -> Reading | None:
    r"""The empty set, the real numbers, and those without some."""
    texts = [token.text for token in pieces]
    if texts in (["\\emptyset"], ["\\{", "\\}"]):
        return Group("{}", ())
    if texts[:4] == ["\\mathbb", "{", "R", "}"]:
        if len(texts) == 4:
            return REALS
        if texts[4] == "\\setminus":
            out = item(pieces[5:])
            if isinstance(out, Group) and out.brackets == "{}" and len(out.parts) == 1:
                return Union((Group("()", (REALS.parts[0], out.parts[0])), Group("()", (out.parts[0], REALS.parts[1]))))
    return None


def bracketed(pieces: Tokens) -> Reading | None:
    """A tuple, an interval, or a set; None for brackets around a formula."""
    first, last = pieces[0].text, pieces[-1].text
    if first not in ("(", "[", "\\{", "\\langle") or last not in (")", "]", "\\}", "\\rangle") or not enclosed(pieces):
        return None
    inside = pieces[1:-1]
    if first == "\\{":
        condition = split(inside, lambda place: inside[place].text in (":", "|"))
        if len(condition) == 2:
            return item(condition[1])
        found = item(inside)
        parts = found.parts if isinstance(found, Group) and found.brackets == "" else (found,)
        return Group("{}", parts)
    found = item(inside)
    if isinstance(found, Group) and found.brackets == "" and any(t.text in (",", ";") for t in outside(inside)):
        if first == "\\langle" or (len(found.parts) != 2 and first + last == "[]"):
            return Group("()", found.parts)
        return Group(first + last, found.parts)
    # Brackets around one thing say nothing.
    return found if first == "(" and last == ")" and not isinstance(found, Unread) else None


def matrix(pieces: Tokens) -> Reading | None:
    r"""`\begin{pmatrix}`, or a number times one."""
    start = next((place for place, token in enumerate(pieces) if token.text == "\\begin"), None)
    if start is None:
        return None
    texts = "".join(token.text for token in pieces[start + 1 :])
    kind = ENVIRONMENT.match(texts)
    if kind is None:
        return None
    body = list(pieces[start + 1 :])
    length = 0
    while length < kind.end():
        length += len(body.pop(0).text)
    end = next((place for place, token in enumerate(body) if token.text == "\\end"), len(body))
    after = written(body[end + 1 :])
    if not re.fullmatch("[a-zA-Z]+", after):
        return None
    rows = split(body[:end], lambda place: body[place].text == "\\\\")
    cells = [split(row, lambda place, row=row: row[place].text == "&") for row in rows if row]  # type: ignore[misc]
    factor = pieces[:start]
    if factor and factor[-1].text in ("\\cdot", "\\times"):
        factor = factor[:-1]
    try:
        found = tuple(tuple(formula(cell) for cell in row) for row in cells)
        if factor:
            scale = Node("negative", (number(1),)) if written(factor) == "-" else formula(factor)
            found = tuple(tuple(Node("product", (scale, cell)) for cell in row) for row in found)
    except UnreadableExpressionError:
        return None
    return Matrix(found) if len({len(row) for row in found}) == 1 and kind[1] not in ("v", "V") else None


def ratio(pieces: Tokens) -> Reading | None:
    parts = split(pieces, lambda place: pieces[place].text == ":")
    if len(parts) < 2:
        return None
    try:
        return Ratio(tuple(formula(part) for part in parts))
    except UnreadableExpressionError:
        return None


def words(pieces: Tokens) -> Reading:
    """A text; Unread if there is mathematics in it."""
    if all(
        token.kind in ("words", "letter") or (token.kind == "sign" and not token.text.isdigit()) for token in pieces
    ):
        text = " ".join(token.text for token in pieces)
        if any(token.kind == "words" for token in pieces) and not set("+=^_*/<>|[]") & {t.text for t in pieces}:
            return Words(plain_words(text))
    return Unread()


def plain_words(text: str) -> str:
    """Letters and digits in small; without an article before them."""
    text = re.sub(r"^\s*(?:an?|the)\s+", "", text.lower())
    return re.sub(r"[^\w]", "", text)
