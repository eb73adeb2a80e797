"""Prompts from a table: jsonl, json, csv or parquet; a local path or any URL pandas opens (`hf://datasets/...`)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from tipx.errors import DataError
from tipx.spec import spec
from tipx.types import Prompt

READERS: dict[str, Callable[[str], pd.DataFrame]] = {
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),
    ".json": lambda path: pd.read_json(path, dtype=False),
    ".csv": lambda path: pd.read_csv(path, dtype=str),
    ".parquet": pd.read_parquet,
}


@spec
class FilePrompts:
    """Rows of `path`: `prompt_field` holds the question as text or as chat messages, `answer_field` the gold answer."""

    path: str
    prompt_field: str
    answer_field: str | None

    def load(self) -> list[Prompt]:
        """Every row; raises DataError when the file is missing, empty, or lacks the columns."""
        rows = self.read()
        for field in (self.prompt_field, self.answer_field):
            if field is not None and field not in rows.columns:
                raise DataError(
                    f"data.path: {self.path!r} has no column {field!r}; it has {', '.join(map(repr, rows.columns))}; "
                    "set data.prompt_field and data.answer_field"
                )
        if rows.empty:
            raise DataError(f"data.path: {self.path!r} holds no prompts; expected at least one row")
        answers = [None] * len(rows) if self.answer_field is None else rows[self.answer_field].astype(str).tolist()
        texts = [text_of(value) for value in rows[self.prompt_field]]
        return [Prompt(str(i), t, a) for i, (t, a) in enumerate(zip(texts, answers, strict=True))]

    def read(self) -> pd.DataFrame:
        reader = READERS.get(Path(self.path).suffix)
        if reader is None:
            raise DataError(f"data.path: cannot tell the format of {self.path!r}; expected {', '.join(READERS)}")
        try:
            return reader(self.path)
        except (OSError, ImportError) as error:
            raise DataError(
                f"data.path: cannot read {self.path!r} ({type(error).__name__}); fetch the file where there is network "
                "and give its place: data.path=/data/prompts.parquet"
            ) from error
        except ValueError as error:
            if Path(self.path).is_file() and Path(self.path).stat().st_size == 0:
                raise DataError(f"data.path: {self.path!r} is empty; expected at least one row") from error
            raise DataError(f"data.path: {self.path!r} is not valid {Path(self.path).suffix}: {error}") from error


def text_of(value: Any) -> str:
    """The question: the value itself, or the content of the last user turn of a list of chat messages."""
    if isinstance(value, str):
        return value
    users = [turn["content"] for turn in value if turn["role"] == "user"]
    return str(users[-1])
