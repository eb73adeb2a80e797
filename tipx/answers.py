r"""What a response answers: the last `\boxed{}` outside its reasoning; and when two answers are plainly the same.

Only what is certain is decided here, from the text alone; all else is mathematics, and `grading`'s business.
"""

import re
from fractions import Fraction
from itertools import accumulate

BOX = "\\boxed{"
BRACE = re.compile(r"\\boxed\{|[{}]")
LONGEST = 1_000
"""Characters. The longest gold answers of the known benchmarks have less than 200: what is longer is no answer."""
DEEPEST = 30
"""Brackets inside one another: parsing takes seconds for 300, and no gold answer has more than 10."""

# Marks that change how an answer looks, and not what it says.
LOOKS = (
    (re.compile(r"\\left(?=[\s\\(\[{|.<])|\\right(?=[\s\\)\]}|.>])"), ""),
    (re.compile(r"\\([dtc])frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|operatorname)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\!|\{,\}(?=\d{3})"), ""),
    (re.compile(r"(?<!\\)\\[,;: ]|~|\\q?quad(?![a-zA-Z])"), " "),
    (re.compile(r"\\?\$|\*\*|\\\(|\\\)|\\\[|\\\]"), " "),
    (re.compile(r"\^\s*(?:\\circ(?![a-zA-Z])|\{\s*\\circ\s*\})|°|\\degree(?![a-zA-Z])"), ""),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)(?!\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"−"), "-"),  # noqa: RUF001 - the minus sign that some models write
)
# A space between two letters or digits separates them (3 1/2, "no solution"); any other one means nothing.
IDLE = re.compile(r"(?<![0-9A-Za-z])\s+|\s+(?![0-9A-Za-z])")
DIGITS = r"(?:\d{1,3}(?:[, ]\d{3})+|\d{1,300})"
DECIMAL = re.compile(rf"([+-]?)({DIGITS}?)(\.\d{{0,300}})?")
RATIO = re.compile(
    r"([+-]?)(?:(\d{1,300})(?: |(?=\\frac)))?(?:\\frac\{([+-]?\d{1,300})\}\{(\d{1,300})\}|(\d{1,300})/(\d{1,300}))"
)


def after_thinking(text: str) -> str:
    """What follows the reasoning; the boxes inside `<think>...</think>` are drafts. "" if it never ended."""
    _, closed, rest = text.rpartition("</think>")
    if closed:
        return rest
    return text.partition("<think>")[0]


def last_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` with balanced braces, stripped; None if there is none."""
    opened: list[re.Match[str]] = []
    last = (-1, -1)
    # One pass: a response that only repeats an opened box has thousands of them.
    for brace in BRACE.finditer(text):
        if brace[0] != "}":
            opened.append(brace)
        elif opened and (begin := opened.pop())[0] == BOX:
            last = max(last, (begin.end(), brace.start()))
    return text[slice(*last)].strip() if last[0] >= 0 else None


def extract(response: str) -> str | None:
    """The answer of a response; None if it has none."""
    return last_boxed(after_thinking(response)) or None


def plain(answer: str) -> str:
    r"""An answer without what only changes its looks: spacing, dollar signs, `\left`, `\dfrac`, a final full stop."""
    for pattern, by in LOOKS:
        answer = pattern.sub(by, answer)
    return IDLE.sub("", " ".join(answer.split()).rstrip(".")).strip()


def depth(answer: str) -> int:
    """How many brackets are open at once, at most."""
    steps = [(c in "([{") - (c in ")]}") for c in answer]
    return max(accumulate(steps), default=0)


def number(answer: str) -> tuple[Fraction, bool] | None:
    r"""(value, whether it is exact) of a `plain` answer that is a whole number, decimal, fraction or mixed number.

    Thousands may be parted by commas or spaces. A decimal is not exact: it may be a rounded fraction.
    """
    if found := DECIMAL.fullmatch(answer):
        sign, whole, rest = found.groups()
        digits = re.sub("[, ]", "", whole or "")
        if not digits and len(rest or "") < 2:
            return None
        return Fraction(f"{sign}{digits or '0'}{rest if rest and len(rest) > 1 else ''}"), not rest
    if found := RATIO.fullmatch(answer):
        sign, whole, *parts = found.groups()
        above, below = (int(part) for part in parts if part)
        # `3 1/2` and `3\frac12` are mixed numbers.
        if below == 0 or (whole and above < 0):
            return None
        value = Fraction(above, below) + int(whole or 0)
        return (-value if sign == "-" else value), True
    return None


def same_text(gold: str, answer: str) -> bool | None:
    """Whether two answers are the same, as far as their text says it for certain; None if it does not.

    Numbers are compared exactly, without rounding; a decimal that is not a fraction may still be a rounded one.
    An answer far longer or deeper than any gold answer is wrong.
    """
    if gold.strip() and gold.strip() == answer.strip():
        return True
    if len(answer) > LONGEST or depth(answer) > DEEPEST:
        return False
    ours, theirs = plain(gold), plain(answer)
    if ours and ours == theirs:
        return True
    a, b = number(ours), number(theirs)
    if a is None or b is None:
        return None
    if a[0] == b[0]:
        return True
    return False if a[1] == b[1] else None


def vote(answer: str) -> object:
    """What stands for an answer in a majority vote: equal numbers and equal plain texts are one answer."""
    text = plain(answer[:LONGEST])
    value = number(text)
    return text.casefold() if value is None else value[0]
