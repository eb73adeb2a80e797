r"""Which columns are the problem, the answer and the id, and what public copies have done to them.

Known layouts: MATH-500 (problem, answer, unique_id), AIME 2024 (ID, Problem, Answer), AIME 2025 (problem, answer, id),
GSM8K (question, answer "... #### 1,200"), MATH (problem, solution with a `\boxed{}`), DAPO-Math (prompt as text or as
chat messages, solution or reward_model.ground_truth), Alpaca (instruction, input, output), chats (messages or
conversations); letter case, `_` and `-` in names do not matter.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tipx.data.rows import ReadQuestion, UnreadablePromptError, read_answer, read_question, with_input, with_system
from tipx.errors import DataError
from tipx.grading.answers import has_box, last_boxed
from tipx.types import Prompt, Turn

INSTRUCTION = "instruction"
"""Alpaca's problem, which goes with its input."""
PROBLEMS = (
    "problem",
    "question",
    "prompt",
    "query",
    INSTRUCTION,
    "input",
    "messages",
    "conversations",
    "conversation",
)
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
    "output",
    "response",
    "completion",
)
INPUTS, HISTORIES, SYSTEMS = ("input",), ("history",), ("system", "systemprompt")
IDS = ("uniqueid", "id", "problemid", "problemidx", "uuid", "index", "idx", "extrainfo")
LONGEST_GOLD = 300
"""Characters: a longer text without a box is a worked solution, not an answer."""

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


def read_prompts(frame: pd.DataFrame, columns: Columns, key: str, origin: str) -> list[Prompt]:
    """Every row as a prompt with its answer, None where it has none; `key` and `origin` are for the errors.

    Ids are row numbers where no column has one for each row. Raises DataError for a missing column or question.
    """
    section = "benchmark" if key.startswith("eval") else key.partition(".")[0]
    named = choose_column(frame, columns.prompt, PROBLEMS)
    if named is None or (columns.answer is not None and columns.answer not in frame.columns):
        missing = columns.prompt if named is None else columns.answer
        wanted = f"no column {missing!r}" if missing else f"no column for the problem (one of {', '.join(PROBLEMS)})"
        raise DataError(
            f"{key}: {origin!r} has {wanted}; it has {', '.join(map(repr, frame.columns))}; set "
            f"{section}.prompt_field and {section}.answer_field"
        )
    answered = choose_column(frame, columns.answer, ANSWERS)
    found = read_questions(frame, named, f"{key}: {origin!r}")
    golds = [last_answer(mend_text(one.reply)) if one.reply is not None else None for one in found]
    if answered is not None:
        golds = read_cells(frame[answered].tolist(), answer_of, f"{key}: {origin!r}", answered, "an answer")
    return [
        Prompt(
            name,
            mend_text(one.question),
            gold,
            before=tuple(Turn(turn.role, mend_text(turn.text)) for turn in one.before),
        )
        for name, one, gold in zip(prompt_ids(frame), found, golds, strict=True)
    ]


def read_questions(frame: pd.DataFrame, named: str, where: str) -> list[ReadQuestion]:
    """What the column `named` asks in each row, with what belongs to it in others; raises DataError by row."""
    found: list[ReadQuestion] = read_cells(
        frame[named].tolist(), read_question, where, named, "text, or chat messages,"
    )
    if plain_name(named) == INSTRUCTION:
        columns = [column_values(frame, known) for known in (INPUTS, HISTORIES)]
        rows = list(zip(found, *columns, strict=True))
        found = read_cells(rows, lambda row: with_input(*row), where, named, "an instruction and its input")
    rows = list(zip(found, column_values(frame, SYSTEMS), strict=True))
    return read_cells(rows, lambda row: with_system(*row), where, named, "a chat and its system turn")


def column_values(frame: pd.DataFrame, known: Sequence[str]) -> list[Any]:
    """Of the column of such a name; None for each row if there is none."""
    column = choose_column(frame, None, known)
    return [None] * len(frame) if column is None else frame[column].tolist()


def read_cells(cells: Sequence[Any], how: Callable[[Any], Any], where: str, column: str, expected: str) -> list[Any]:
    """`how` reads each cell; raises DataError, which names the row, for one that it cannot read."""
    out = []
    for row, cell in enumerate(cells):
        try:
            out.append(how(cell))
        except UnreadablePromptError as why:
            raise DataError(
                f"{where}, row {row}: expected {expected} in {column!r}, got {cell!r:.80} ({why}); mend or remove the "
                "row"
            ) from why
    return out


def plain_name(name: str) -> str:
    """A column's name without letter case, `_`, `-` and blanks."""
    return re.sub("[-_ ]", "", name).casefold()


def choose_column(frame: pd.DataFrame, named: str | None, known: Sequence[str]) -> str | None:
    """The column the user named, or the first known one that is there; None if it is not."""
    if named is not None:
        return named if named in frame.columns else None
    there = {plain_name(str(column)): str(column) for column in reversed(frame.columns)}
    return next((there[name] for name in known if name in there), None)


def prompt_ids(frame: pd.DataFrame) -> list[str]:
    """Of a column that has another id for each row; else row numbers."""
    column = choose_column(frame, None, IDS)
    if column is not None:
        found = [str(v.get("index")) if isinstance(v, dict) else str(v) for v in frame[column].tolist()]
        if len(set(found)) == len(found):
            return found
    return [str(row) for row in range(len(frame))]


def mend_text(text: str) -> str:
    """With the backslashes that a copy lost to control characters."""
    for pattern, by in LOST:
        text = pattern.sub(by, text)
    return text


def answer_of(value: Any) -> str | None:
    """The gold answer in a value: itself, the last box or what follows #### in a worked solution; None if none.

    Raises UnreadableError for what cannot be text.
    """
    if isinstance(value, dict):
        return answer_of(value.get("ground_truth"))
    if isinstance(value, list) and not (value and isinstance(value[0], dict)):
        return ", ".join(text for part in value if (text := answer_of(part)) is not None) or None
    text = read_answer(value)
    return None if text is None else last_answer(mend_text(text).strip())


def last_answer(text: str) -> str | None:
    """The answer at the end of a text, or the text if it is short enough to be one."""
    if "####" in text:
        text = text.rpartition("####")[2].strip().removeprefix("$")
        return text.replace(",", "") if THOUSANDS.fullmatch(text) else text or None
    if has_box(text):
        return last_boxed(text) or None
    return text if 0 < len(text) <= LONGEST_GOLD else None
