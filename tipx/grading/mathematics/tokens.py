r"""An answer in pieces: numbers, letters, commands, words and signs. Every character is part of one."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tipx.grading.mathematics.units import is_unit

Kind = Literal["number", "letter", "command", "words", "sign"]
PIECE = re.compile(
    r"(?P<space>\s+)"
    r"|\\text\{(?P<words>[^{}]*)\}"
    r"|(?P<number>\d+\.?\d*(?:[eE][+-]?\d+(?![\d.]))?|\.\d+(?:[eE][+-]?\d+(?![\d.]))?)"
    r"|(?P<command>\\(?:[a-zA-Z]+|\\|\{|\}|\||\$|.))"
    r"|(?P<letters>[a-zA-Z]+)"
    r"|(?P<sign>.)",
    re.DOTALL,
)
OPENING = {"(", "[", "{", "\\{", "\\langle", "\\lfloor", "\\lceil", "\\begin"}
CLOSING = {")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil", "\\end"}
LONG_WORD = 5
"""Letters in a row that are a word and no product: nobody multiplies so many."""


@dataclass(frozen=True)
class Token:
    """`spaced`: a blank stands before it. `words` are those of a text command, or a bare word of a known kind."""

    kind: Kind
    text: str
    spaced: bool = False


Tokens = Sequence[Token]


def tokens(text: str) -> list[Token]:
    """Of a canonical text."""
    found: list[Token] = []
    spaced = False
    for piece in PIECE.finditer(text):
        kind, content = str(piece.lastgroup), piece[str(piece.lastgroup)]
        if kind == "letters":
            after = bool(found) and (found[-1].kind == "number" or found[-1].text in (*CLOSING, "/", "%"))
            if len(content) >= LONG_WORD or (len(content) > 1 and after and is_unit(content)):
                found.append(Token("words", content, spaced))
            else:
                found += [Token("letter", letter, spaced and i == 0) for i, letter in enumerate(content)]
        elif kind != "space":
            found.append(Token(kind, content, spaced))  # type: ignore[arg-type]
        spaced = kind == "space"
    return found


def split(pieces: Tokens, is_border: Callable[[int], bool]) -> list[list[Token]]:
    """The parts between borders that stand outside all brackets; `is_border` is asked by place."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for place, token in enumerate(pieces):
        depth += (token.text in OPENING) - (token.text in CLOSING)
        if depth == 0 and is_border(place):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def enclosed(pieces: Tokens) -> bool:
    """Whether the first bracket closes at the end, and not before."""
    depth = 0
    for place, token in enumerate(pieces):
        depth += (token.text in OPENING) - (token.text in CLOSING)
        if depth <= 0:
            return len(pieces) > 1 and place == len(pieces) - 1
    return False
