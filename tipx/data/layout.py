r"""Which columns are the problem, the answer and the id, and what public copies have done to them.

Known layouts: MATH-500 (problem, answer, unique_id), AIME 2024 (ID, Problem, Answer), AIME 2025 (problem, answer, id),
GSM8K (question, answer "... #### 1,200"), MATH (problem, solution with a `\boxed{}`), DAPO-Math (prompt as text or as
chat messages, solution or reward_model.ground_truth); letter case, `_` and `-` in names do not matter.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tipx.answers import has_box, last_boxed
from tipx.errors import DataError
from tipx.types import Prompt

PROBLEMS = ("problem", "question", "prompt", "query", "input")
ANSWERS = (
    "answer",
    "finalanswer",
    "expectedanswer",
    "groundtruth",
    "gold",
    "target",
    "final",
    "rewardmodel",
    "solution",
)
IDS = ("uniqueid", "id", "problemid", "problemidx", "uuid", "index", "idx", "extrainfo")
LONGEST_GOLD = 300
"""Characters: a longer text without a box is a worked solution, not an answer."""

# DAPO-Math as first published asks for another form of answer than a box.
DAPO_HEAD = re.compile(r"^Solve the following math problem step by step\. [^\n]*Answer: \$Answer[^\n]*\n\n")
DAPO_TAIL = re.compile(r"\s*Remember to put your answer on its own line after \"Answer:\"\.?\s*$")
# JSON read \f, \b, \v, \a, \t, \r and \n as control characters where LaTeX had a command. Tab, return and newline are
# also honest spaces, so of those only what no English word begins with.
LOST = (
    *((re.compile(f"{mark}(?=[a-z])"), f"\\\\{c}") for mark, c in (("\f", "f"), ("\b", "b"), ("\v", "v"), ("\a", "a"))),
    (re.compile(r"\t(?=(?:riangle|heta|imes|frac|au)(?![a-z])|ext\{|extbf\{)"), r"\\t"),
    (re.compile(r"\r(?=(?:ight|angle|ho|floor|ceil)(?![a-z]))"), r"\\r"),
    (re.compile(r"\n(?=(?:eq|abla|otin)(?![a-z]))"), r"\\n"),
)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")


@dataclass(frozen=True)
class Columns:
    """Which columns the user named; None is: find it."""

    prompt: str | None
    answer: str | None


def prompts(frame: pd.DataFrame, columns: Columns, key: str, origin: str) -> list[Prompt]:
    """Every row as a prompt with its answer, None where it has none; `key` and `origin` are for the errors.

    Ids are row numbers where no column has one for each row. Raises DataError for a missing column or question.
    """
    section = "benchmark" if key.startswith("eval") else key.partition(".")[0]
    asked = choose(frame, columns.prompt, PROBLEMS)
    if asked is None or (columns.answer is not None and columns.answer not in frame.columns):
        missing = columns.prompt if asked is None else columns.answer
        wanted = f"no column {missing!r}" if missing else f"no column for the problem (one of {', '.join(PROBLEMS)})"
        raise DataError(
            f"{key}: {origin!r} has {wanted}; it has {', '.join(map(repr, frame.columns))}; set "
            f"{section}.prompt_field and {section}.answer_field"
        )
    answered = choose(frame, columns.answer, ANSWERS)
    golds = [None] * len(frame) if answered is None else [answer_of(value) for value in frame[answered].tolist()]
    texts = [mended(text_of(value)) for value in frame[asked].tolist()]
    for row, text in enumerate(texts):
        if not text.strip():
            raise DataError(
                f"{key}: {origin!r}, row {row}: expected text, or chat messages of one user turn, in {asked!r}, got "
                f"{frame[asked].tolist()[row]!r:.80}; mend or remove the row"
            )
    return [Prompt(*one) for one in zip(ids(frame), texts, golds, strict=True)]


def choose(frame: pd.DataFrame, named: str | None, known: Sequence[str]) -> str | None:
    """The column the user named, or the first known one that is there; None if it is not."""
    if named is not None:
        return named if named in frame.columns else None
    there = {re.sub("[-_ ]", "", str(column)).casefold(): str(column) for column in reversed(frame.columns)}
    return next((there[name] for name in known if name in there), None)


def ids(frame: pd.DataFrame) -> list[str]:
    """Of a column that has another id for each row; else row numbers."""
    column = choose(frame, None, IDS)
    if column is not None:
        found = [str(v.get("index")) if isinstance(v, dict) else str(v) for v in frame[column].tolist()]
        if len(set(found)) == len(found):
            return found
    return [str(row) for row in range(len(frame))]


def text_of(value: Any) -> str:
    """The question: the value itself, or the user turn that is a chat's only message; "" when it is neither.

    Of a longer chat nothing may be dropped: the student would be distilled out of context.
    """
    if isinstance(value, str):
        return DAPO_TAIL.sub("", DAPO_HEAD.sub("", value))
    turns = list(value) if isinstance(value, list | np.ndarray) else []
    alone = len(turns) == 1 and isinstance(turns[0], dict) and turns[0].get("role") == "user"
    return text_of(str(turns[0].get("content") or "")) if alone else ""


def mended(text: str) -> str:
    """With the backslashes that a copy lost to control characters."""
    for pattern, by in LOST:
        text = pattern.sub(by, text)
    return text


def answer_of(value: Any) -> str | None:
    """The gold answer in a value: itself, the last box or what follows #### in a worked solution; None if none."""
    if isinstance(value, dict):
        return answer_of(value.get("ground_truth"))
    if isinstance(value, list | np.ndarray):
        return ", ".join(text for part in value if (text := answer_of(part)) is not None) or None
    if value is None or value is pd.NA:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return last_answer(mended(str(value)).strip())


def last_answer(text: str) -> str | None:
    """The answer at the end of a text, or the text if it is short enough to be one."""
    if "####" in text:
        text = text.rpartition("####")[2].strip().removeprefix("$")
        return text.replace(",", "") if THOUSANDS.fullmatch(text) else text or None
    if has_box(text):
        return last_boxed(text) or None
    return text if 0 < len(text) <= LONGEST_GOLD else None
