r"""What a response answers: the last `\boxed{}` outside its reasoning; and when two answers are plainly the same.

What is reasoning, prompt and response say together: many chat templates open it in the prompt. Only what is certain is
decided here, from the text alone; all else is mathematics, and `grading`'s business.
"""

import re
from fractions import Fraction
from itertools import accumulate

BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{")
"""A box that is opened."""
BRACE = re.compile(rf"{BOX.pattern}|[{{}}]")
# TeX boxes one sign where there is no brace; those who leave it out mean the whole number.
UNBRACED = re.compile(r"\\(?:boxed|fbox)(?:\s*(?=[-\d])|\s+)(-?\d(?:[\d.,/]*\d)?|[a-zA-Z])(?![a-zA-Z0-9])")
MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
"""What opens and what closes reasoning; some are special tokens."""
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


def is_open(prompt: str) -> bool:
    """Whether a prompt ends inside reasoning: its last words open it."""
    return prompt.rstrip().endswith(tuple(opening for opening, _ in MARKS))


def after_thinking(response: str, prompt: str = "") -> str:
    """What follows the reasoning; the boxes in it are drafts. "" if it never ended.

    `response` holds its special tokens, or the marks of reasoning may be missing.
    """
    for opening, closing in MARKS:
        _, closed, rest = response.rpartition(closing)
        if closed or opening in response:
            # It may go on: reasoning that is opened and not closed hides all after it.
            return "" if is_open(prompt) and not closed else rest.partition(opening)[0]
    return "" if is_open(prompt) else response


def last_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` with balanced braces, stripped; None if there is none.

    `\fbox{...}`, blanks before the brace, and one number or letter without braces count, too.
    """
    opened: list[re.Match[str]] = []
    last = (-1, -1)
    # One pass: a response that only repeats an opened box has thousands of them.
    for brace in BRACE.finditer(text):
        if brace[0] != "}":
            opened.append(brace)
        elif opened and (begin := opened.pop())[0] != "{":
            last = max(last, (begin.end(), brace.start()))
    for bare in UNBRACED.finditer(text):
        last = max(last, bare.span(1))
    return text[slice(*last)].strip() if last[0] >= 0 else None


def has_box(text: str) -> bool:
    """Whether a box is opened."""
    return BOX.search(text) is not None or UNBRACED.search(text) is not None


def extract_answer(response: str, prompt: str = "") -> str | None:
    """The answer of a response; None if it has none. Both texts hold their special tokens."""
    return last_boxed(after_thinking(response, prompt)) or None


def plain_answer(answer: str) -> str:
    r"""An answer without what only changes its looks: spacing, dollar signs, `\left`, `\dfrac`, a final full stop."""
    for pattern, by in LOOKS:
        answer = pattern.sub(by, answer)
    return IDLE.sub("", " ".join(answer.split()).rstrip(".")).strip()


def brace_depth(answer: str) -> int:
    """How many brackets are open at once, at most."""
    steps = [(c in "([{") - (c in ")]}") for c in answer]
    return max(accumulate(steps), default=0)


def number_of(answer: str) -> tuple[Fraction, bool] | None:
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
    if len(answer) > LONGEST or brace_depth(answer) > DEEPEST:
        return False
    ours, theirs = plain_answer(gold), plain_answer(answer)
    if ours and ours == theirs:
        return True
    a, b = number_of(ours), number_of(theirs)
    if a is None or b is None:
        return None
    if a[0] == b[0]:
        return True
    return False if a[1] == b[1] else None


def majority_vote(answer: str) -> object:
    """What stands for an answer in a majority vote: equal numbers and equal plain texts are one answer."""
    text = plain_answer(answer[:LONGEST])
    value = number_of(text)
    return text.casefold() if value is None else value[0]
