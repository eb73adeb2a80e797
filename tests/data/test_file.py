"""Prompts from tables of four formats, and one line for each way in which a table can be wrong."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tipx.config import build, load
from tipx.data import PromptSource
from tipx.data.file import FilePrompts
from tipx.errors import DataError
from tipx.types import Prompt

Rows = list[dict[str, Any]]
ROWS: Rows = [{"prompt": "one , two ?", "gold": "073"}, {"prompt": 'say "é"\nplease', "gold": "1/2"}]
EXPECTED = [Prompt("0", "one , two ?", "073"), Prompt("1", 'say "é"\nplease', "1/2")]
WRITERS: dict[str, Callable[[Rows, Path], None]] = {
    "jsonl": lambda rows, path: path.write_text("".join(json.dumps(row) + "\n" for row in rows)) and None,
    "json": lambda rows, path: path.write_text(json.dumps(rows)) and None,
    "csv": lambda rows, path: pd.DataFrame(rows).to_csv(path, index=False),
    "parquet": lambda rows, path: pd.DataFrame(rows).to_parquet(path),
}
EVERY = pytest.mark.parametrize("suffix", WRITERS)
NESTED = pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Prompt]]:
    """The prompts of a table with these rows, or of a file with this text."""

    def of(
        suffix: str, content: Rows | str | bytes, field: str | None = None, answer: str | None = None
    ) -> list[Prompt]:
        path = tmp_path / f"table.{suffix}"
        if isinstance(content, str | bytes):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            WRITERS[suffix](content, path)
        return FilePrompts(path=str(path), hub=(), prompt_field=field, answer_field=answer).load()

    return of


Read = Callable[..., list[Prompt]]


@EVERY
def test_every_format(suffix: str, read: Read) -> None:
    # Answers stay as they are written: "073" is not 73.
    assert read(suffix, ROWS, answer="gold") == EXPECTED
    assert read(suffix, ROWS) == EXPECTED  # the columns are found by their names
    assert read(suffix, [{"prompt": p.text} for p in EXPECTED]) == [Prompt(p.id, p.text, None) for p in EXPECTED]
    assert [p.text for p in read(suffix, ROWS, field="gold")] == ["073", "1/2"]


def test_through_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    WRITERS["jsonl"](ROWS, path)
    source = build(load(["data=file", f"data.path={path}", "data.answer_field=gold"])).data
    assert isinstance(source, PromptSource)
    assert source.load() == EXPECTED


@NESTED
def test_nothing_of_a_chat_is_dropped(suffix: str, read: Read) -> None:
    turns = [{"role": role, "content": text} for role, text in [("system", "be brief"), ("user", "a"), ("user", "b")]]
    alone, brief, twice = read(suffix, [{"prompt": part} for part in (turns[1:2], turns[:2], turns[1:])])
    assert (alone.before, alone.text) == ((), "a")
    assert (brief.before, brief.text) == ((("system", "be brief"),), "a")
    assert (twice.before, twice.text) == ((("user", "a"),), "b")


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_numbers_as_answers_and_missing_ones(suffix: str, read: Read) -> None:
    # One missing answer must not make 5 into 5.0.
    rows = [{"prompt": "a", "gold": 5}, {"prompt": "b", "gold": None}, {"prompt": "c"}]
    assert [p.answer for p in read(suffix, rows, answer="gold")] == ["5", None, None]


def test_words_that_pandas_takes_for_missing(read: Read) -> None:
    assert read("csv", "prompt,gold\nNA,null\nnan,\n", answer="gold") == [
        Prompt("0", "NA", "null"),
        Prompt("1", "nan", None),
    ]


def failure(read: Read, words: Sequence[str], *args: Any, **kwargs: Any) -> None:
    with pytest.raises(DataError) as caught:
        read(*args, **kwargs)
    text = str(caught.value)
    assert text.startswith("data.path: ")
    for word in words:
        assert word in text, text


@EVERY
def test_missing_column(suffix: str, read: Read) -> None:
    failure(
        read, ["no column 'question'", "it has 'prompt', 'gold'", "data.prompt_field"], suffix, ROWS, field="question"
    )
    failure(read, ["no column 'answer'", "'prompt', 'gold'", "data.answer_field"], suffix, ROWS, answer="answer")


@EVERY
def test_an_empty_file(suffix: str, read: Read) -> None:
    failure(read, [f"table.{suffix}'", "at least one row"], suffix, "")


@pytest.mark.parametrize(
    ("suffix", "text"), [("jsonl", "\n\n"), ("json", "[]"), ("csv", "prompt,gold\n"), ("parquet", [])]
)
def test_no_rows(suffix: str, text: str, read: Read) -> None:
    failure(read, [f"table.{suffix}'", "holds no prompts", "at least one row"], suffix, text)


@EVERY
def test_missing_file(suffix: str, tmp_path: Path) -> None:
    source = FilePrompts(path=str(tmp_path / f"nowhere.{suffix}"), hub=(), prompt_field="prompt", answer_field=None)
    words = [f"nowhere.{suffix}", "cannot read", "FileNotFoundError", "data.path=/data/prompts.parquet"]
    failure(source.load, words)


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    source = FilePrompts(path=str(tmp_path / "folder.jsonl"), hub=(), prompt_field="prompt", answer_field=None)
    failure(source.load, ["folder.jsonl", "none of prompts.jsonl", "give the file itself"])


@pytest.mark.parametrize("suffix", ["txt", "jsonl.zip", "gz"])
def test_unknown_suffix(suffix: str, read: Read) -> None:
    failure(read, [f"table.{suffix}'", "cannot tell the format", ".jsonl, .json, .csv, .parquet"], suffix, "whatever")


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("jsonl", '{"prompt": "x"\n'),
        ("jsonl", b'{"prompt": "\xff\xfe"}\n'),
        ("json", '{"prompt": '),
        ("csv", "prompt,gold\na,b\na,b,c,d\n"),
        ("csv", b"prompt\n\xff\xfe\n"),
        ("parquet", "PAR1 is not all of it"),
    ],
)
def test_malformed(suffix: str, content: str | bytes, read: Read) -> None:
    failure(read, [f"table.{suffix}'", f"is not valid .{suffix}"], suffix, content)


@NESTED
@pytest.mark.parametrize(
    "bad",
    [None, "", "  ", [], [{"role": "system", "content": "s"}], [{"role": "user", "content": ""}], [{"text": "u"}]],
)
def test_a_row_without_a_question(bad: Any, suffix: str, read: Read) -> None:
    # Beside a good row of the same kind, as a column has one type in parquet.
    good = [{"role": "user", "content": "u", "text": ""}] if isinstance(bad, list) else "u"
    failure(
        read,
        ["row 1", "'prompt'", "text, or chat messages", "remove the row"],
        suffix,
        [{"prompt": good}, {"prompt": bad}],
    )


@pytest.mark.parametrize("bad", ["5", "true", '{"role": "user"}', '["text"]'])
def test_a_question_of_another_type(bad: str, read: Read) -> None:
    failure(read, ["row 0", "'prompt'", "text, or chat messages"], "jsonl", f'{{"prompt": {bad}}}\n')


def test_a_row_of_csv_without_a_question(read: Read) -> None:
    failure(read, ["row 1", "'prompt'", "got ''"], "csv", "prompt,gold\nx,1\n,2\n")
