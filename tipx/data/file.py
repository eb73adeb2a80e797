"""Prompts from a table: jsonl, json, csv or parquet; a local path or any URL pandas opens (`hf://datasets/...`)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tipx.errors import DataError
from tipx.hub import find_hub
from tipx.spec import spec
from tipx.types import Prompt

HUB = "hf://datasets/"
READERS: dict[str, Callable[[str], pd.DataFrame]] = {
    # Nullable types: one missing answer must not turn the answer 5 of another row into 5.0.
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False, dtype_backend="numpy_nullable"),
    ".json": lambda path: pd.read_json(path, dtype=False, dtype_backend="numpy_nullable"),
    ".csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False),
    ".parquet": lambda path: pd.read_parquet(path, dtype_backend="numpy_nullable"),
}


@spec
class FilePrompts:
    """Rows of `path`: `prompt_field` holds the question as text or as chat messages, `answer_field` the gold answer."""

    path: str
    prompt_field: str
    answer_field: str | None

    def load(self) -> list[Prompt]:
        """Every row; raises DataError when the file is missing, empty, lacks the columns, or a row has no question."""
        rows = self.read()
        if rows.empty:
            raise DataError(f"data.path: {self.path!r} holds no prompts; expected at least one row")
        for field in (self.prompt_field, self.answer_field):
            if field is not None and field not in rows.columns:
                raise DataError(
                    f"data.path: {self.path!r} has no column {field!r}; it has {', '.join(map(repr, rows.columns))}; "
                    "set data.prompt_field and data.answer_field"
                )
        answers = [None] * len(rows) if self.answer_field is None else rows[self.answer_field].tolist()
        questions = rows[self.prompt_field].tolist()
        return [self.prompt(i, q, a) for i, (q, a) in enumerate(zip(questions, answers, strict=True))]

    def prompt(self, row: int, question: Any, answer: Any) -> Prompt:
        """Of one row; an answer that is missing or empty is None."""
        text = text_of(question)
        if not text.strip():
            raise DataError(
                f"data.path: {self.path!r}, row {row}: expected text, or chat messages of one user turn, in "
                f"{self.prompt_field!r}, got {question!r:.80}; mend or remove the row"
            )
        return Prompt(str(row), text, None if answer is None or answer is pd.NA or answer == "" else str(answer))

    def read(self) -> pd.DataFrame:
        reader = READERS.get(Path(self.path).suffix)
        if reader is None:
            raise DataError(f"data.path: cannot tell the format of {self.path!r}; expected {', '.join(READERS)}")
        try:
            if self.path.startswith(HUB):
                find_hub("/".join(["datasets", *self.path.removeprefix(HUB).split("/")[:2]]))
            return reader(self.path)
        except (OSError, ImportError) as error:
            raise DataError(
                f"data.path: cannot read {self.path!r} ({type(error).__name__}: {error}); fetch the file where "
                "there is network and give its place: data.path=/data/prompts.parquet"
            ) from error
        except ValueError as error:
            if Path(self.path).is_file() and Path(self.path).stat().st_size == 0:
                raise DataError(f"data.path: {self.path!r} is empty; expected at least one row") from error
            raise DataError(f"data.path: {self.path!r} is not valid {Path(self.path).suffix}: {error}") from error


def text_of(value: Any) -> str:
    """The question: the value itself, or the user turn that is a chat's only message; "" when it is neither.

    Of a longer chat nothing may be dropped: the student would be distilled out of context.
    """
    if isinstance(value, str):
        return value
    turns = list(value) if isinstance(value, list | np.ndarray) else []
    alone = len(turns) == 1 and isinstance(turns[0], dict) and turns[0].get("role") == "user"
    return str(turns[0].get("content") or "") if alone else ""
