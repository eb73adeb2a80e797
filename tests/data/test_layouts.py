"""Files as people have them: what is in each is written here by hand, and so is what is said of one that is refused."""

import bz2
import csv
import gzip
import json
import lzma
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tipx.data.file import FilePrompts
from tipx.data.table import Place
from tipx.errors import DataError
from tipx.types import Prompt

Turns = tuple[tuple[str, str], ...]
Read = tuple[str, str | None] | tuple[str, str | None, Turns]
"""Question, answer, and the turns before."""

# --- rows ------------------------------------------------------------------------------------------------------------

SUM, BRIEF = "What is 2 + 3?", (("system", "Be brief."),)


def say(*turns: tuple[str, Any], keys: tuple[str, str] = ("role", "content")) -> list[dict[str, Any]]:
    return [dict(zip(keys, turn, strict=True)) for turn in turns]


def share(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return say(*turns, keys=("from", "value"))


PART = {"type": "text", "text": SUM}
IMAGE = {"type": "image_url", "image_url": {"url": "x.png"}}
ROWS: dict[str, tuple[dict[str, Any], Read | str]] = {
    "text": ({"problem": SUM, "answer": "5"}, (SUM, "5")),
    "question": ({"question": SUM, "answer": "2 + 3 = 5\n#### 5"}, (SUM, "5")),
    "query": ({"query": SUM, "response": "so \\boxed{5}"}, (SUM, "5")),
    "text parts": ({"prompt": say(("user", [PART])), "answer": "5"}, (SUM, "5")),
    "two parts": (
        {"prompt": say(("user", [{"type": "text", "text": "What is "}, {"type": "text", "text": "2 + 3?"}]))},
        (SUM, None),
    ),
    "parts of text alone": ({"prompt": say(("user", ["What is ", "2 + 3?"]))}, (SUM, None)),
    "parts without a turn": ({"prompt": [PART]}, (SUM, None)),
    "system in parts": (
        {"messages": say(("system", [{"type": "text", "text": "Be brief."}]), ("user", [PART]))},
        (SUM, None, BRIEF),
    ),
    "an image beside text": (
        {"prompt": say(("user", [PART, IMAGE]))},
        "row 0: .*a part of type 'image_url' is no text",
    ),
    "an image alone": ({"prompt": [IMAGE]}, "row 0: .*a part of type 'image_url' is no text"),
    "a part without text": ({"prompt": say(("user", [{"type": "text"}]))}, "row 0: .*a part of type 'text' is no text"),
    "system and user": ({"prompt": say(("system", "Be brief."), ("user", SUM)), "answer": "5"}, (SUM, "5", BRIEF)),
    "several turns": (
        {"prompt": say(("user", SUM), ("assistant", "5?"), ("user", "Sure?"))},
        ("Sure?", None, (("user", SUM), ("assistant", "5?"))),
    ),
    "messages, answered": (
        {"messages": say(("system", "Be brief."), ("user", SUM), ("assistant", "5"))},
        (SUM, "5", BRIEF),
    ),
    "messages, worked": ({"messages": say(("user", SUM), ("assistant", "so \\boxed{5}"))}, (SUM, "5")),
    "messages and an answer": (
        {"messages": say(("user", SUM), ("assistant", "It is five.")), "answer": "5"},
        (SUM, "5"),
    ),
    "ShareGPT": ({"conversations": share(("human", SUM), ("gpt", "5"))}, (SUM, "5")),
    "ShareGPT, system": (
        {"conversations": share(("system", "Be brief."), ("human", SUM), ("gpt", "5"))},
        (SUM, "5", BRIEF),
    ),
    "ShareGPT, system beside": (
        {"system": "Be brief.", "conversations": share(("human", SUM), ("gpt", "5"))},
        (SUM, "5", BRIEF),
    ),
    "ShareGPT, a tool": (
        {"conversations": share(("human", SUM), ("function_call", "add"), ("gpt", "5"))},
        "row 0: .*expected a turn of system, .*, got one of 'function_call'",
    ),
    "a turn that calls tools": (
        {"messages": [*say(("user", SUM)), {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]},
        "row 0: .*a turn calls tools",
    ),
    "capital roles": ({"messages": say(("User", SUM), ("Assistant", "5"))}, (SUM, "5")),
    "an empty system turn": ({"messages": say(("system", ""), ("user", SUM))}, (SUM, None)),
    "no turn of the user's": ({"messages": say(("system", "Be brief."))}, "row 0: .*and system's is"),
    "the assistant alone": ({"messages": say(("assistant", "5"))}, "row 0: .*and assistant's is"),
    "content that is null": ({"messages": say(("user", None))}, "row 0: .*a turn of 'user' has no content"),
    "a developer": (
        {"messages": say(("developer", "x"), ("user", SUM))},
        "row 0: .*expected a turn of system, .*, got one of 'developer'",
    ),
    "a chat as text": (
        {"prompt": "[{'role': 'user', 'content': 'What?'}]"},
        "row 0: .*written as one text: save .*jsonl",
    ),
    "one message, no list": ({"prompt": say(("user", SUM))[0]}, "row 0: expected text, or chat messages"),
    "Alpaca": ({"instruction": "Add.", "input": "2 and 3", "output": "5"}, ("Add.\n\n2 and 3", "5")),
    "Alpaca, no input": ({"instruction": SUM, "input": "", "output": "5"}, (SUM, "5")),
    "Alpaca, a number": ({"instruction": "Double it.", "input": 21, "output": 42}, ("Double it.\n\n21", "42")),
    "Alpaca, system": (
        {"system": "Be brief.", "instruction": "Add.", "input": "2 and 3", "output": "5"},
        ("Add.\n\n2 and 3", "5", BRIEF),
    ),
    "Alpaca, history": (
        {"instruction": "Sure?", "input": "", "output": "5", "history": [[SUM, "5?"]]},
        ("Sure?", "5", (("user", SUM), ("assistant", "5?"))),
    ),
    "OpenOrca": ({"system_prompt": "Be brief.", "question": SUM, "response": "5"}, (SUM, "5", BRIEF)),
    "two system turns": (
        {"system": "Be long.", "messages": say(("system", "Be brief."), ("user", SUM))},
        "row 0: .*say different things",
    ),
    "TRL, a completion": (
        {"prompt": say(("user", SUM)), "completion": say(("assistant", "\\boxed{5}"))},
        (SUM, "5"),
    ),
    "a whole number": ({"prompt": SUM, "answer": 5}, (SUM, "5")),
    "beyond 64 bits": ({"prompt": "2^70?", "answer": 2**70}, ("2^70?", "1180591620717411303424")),
    "a float": ({"prompt": SUM, "answer": 5.0}, (SUM, "5")),
    "a small float": ({"prompt": SUM, "answer": 1e-07}, (SUM, "0.0000001")),
    "true": ({"prompt": "Is 2 even?", "answer": True}, ("Is 2 even?", "True")),
    "null": ({"prompt": SUM, "answer": None}, (SUM, None)),
    "numbers": ({"prompt": "Primes below 6?", "answer": [2, 3, 5]}, ("Primes below 6?", "2, 3, 5")),
    "DAPO": ({"prompt": say(("user", SUM)), "reward_model": {"ground_truth": "5", "style": "rule"}}, (SUM, "5")),
    "half a surrogate pair": ({"prompt": "a \ud83d"}, "row 0: .*half of a surrogate pair"),
    "no known column": ({"text": SUM}, r"no column for the problem .*it has 'text'; set data\.prompt_field"),
    "an empty text": ({"prompt": " "}, "row 0: .*it is empty"),
    "an infinite answer": ({"prompt": SUM, "answer": float("inf")}, "row 0: expected an answer in 'answer', got inf"),
}
NO_PARQUET = ("half a surrogate pair", "beyond 64 bits")  # Arrow cannot hold them


def read(path: Path, **fields: str | None) -> list[Read]:
    source = FilePrompts(path=str(path), hub=(), **({"prompt_field": None, "answer_field": None} | fields))
    return [shown(prompt) for prompt in source.load()]


def shown(prompt: Prompt) -> Read:
    return (prompt.text, prompt.answer, prompt.before) if prompt.before else (prompt.text, prompt.answer)


def judge(path: Path, expected: Sequence[Read] | str) -> None:
    if isinstance(expected, str):
        with pytest.raises(DataError, match=f"(?s)data.path: .*{expected}") as caught:
            read(path)
        assert "half a download" not in str(caught.value)
    else:
        assert read(path) == list(expected)


@pytest.mark.parametrize(
    ("kind", "name"), [(k, n) for k in ("jsonl", "parquet") for n in ROWS if k == "jsonl" or n not in NO_PARQUET]
)
def test_rows(kind: str, name: str, tmp_path: Path) -> None:
    row, expected = ROWS[name]
    path = tmp_path / f"table.{kind}"
    if kind == "jsonl":
        path.write_text(json.dumps(row) + "\n")
    else:
        pq.write_table(pa.Table.from_pylist([row]), path)
    judge(path, expected if isinstance(expected, str) else [expected])


# --- files -----------------------------------------------------------------------------------------------------------

TABLE = [{"problem": "What is 2 + 3?", "answer": "5"}, {"problem": "What is\n1 + “1”?", "answer": "2"}]
RIGHT: list[Read] = [("What is 2 + 3?", "5"), ("What is\n1 + “1”?", "2")]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in TABLE)
ARROW = pa.Table.from_pylist(TABLE)
HTML = "<!DOCTYPE html><html><body>Sign in</body></html>"


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packer:
        packer.write(data)
    return bytes(sink.getvalue().to_pybytes())


def stream(path: Path, table: pa.Table = ARROW) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


def arrow_file(path: Path) -> None:
    with pa.ipc.new_file(path, ARROW.schema) as writer:
        writer.write_table(ARROW)


def separated(path: Path, by: str, encoding: str = "utf-8") -> None:
    with path.open("w", newline="", encoding=encoding) as handle:
        csv.writer(handle, delimiter=by).writerows([list(TABLE[0]), *([*row.values()] for row in TABLE)])


def saved(folder: Path, parts: int = 1) -> None:
    """As `Dataset.save_to_disk` writes it."""
    folder.mkdir(parents=True)
    names = [f"data-{part:05d}-of-{parts:05d}.arrow" for part in range(parts)]
    for name, rows in zip(names, (TABLE,) if parts == 1 else ([TABLE[0]], [TABLE[1]]), strict=True):
        stream(folder / name, pa.Table.from_pylist(rows))
    state = {"_data_files": [{"filename": name} for name in names], "_format_type": None, "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}}))


def splits(folder: Path, *names: str) -> None:
    for name in names:
        saved(folder / name)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": names}))


def folder(path: Path, **files: str) -> None:
    """Text files whose names have `__` for `-` and `_dot_` for a full stop."""
    path.mkdir()
    for name, text in files.items():
        (path / name.replace("__", "-").replace("_dot_", ".")).write_text(text)


def put(content: str | bytes) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data)


ONE, TWO = (json.dumps(row) + "\n" for row in TABLE)
FILES: dict[str, tuple[str, Callable[[Path], object], Sequence[Read] | str]] = {
    "lines": ("t.jsonl", put(LINES), RIGHT),
    "capital suffix": ("t.JSONL", put(LINES), RIGHT),
    "ndjson": ("t.ndjson", put(LINES), RIGHT),
    "lines of Windows": ("t.jsonl", put(LINES.replace("}\n", "}\r\n")), RIGHT),
    "no last newline": ("t.jsonl", put(LINES.rstrip("\n")), RIGHT),
    "blank lines": ("t.jsonl", put("\n" + LINES.replace("}\n", "}\n\n")), RIGHT),
    "BOM": ("t.jsonl", put(b"\xef\xbb\xbf" + LINES.encode()), RIGHT),
    "BOM, json": ("t.json", put(b"\xef\xbb\xbf" + json.dumps(TABLE).encode()), RIGHT),
    "UTF-16": ("t.jsonl", put(LINES.encode("utf-16")), RIGHT),
    "json": ("t.json", put(json.dumps(TABLE)), RIGHT),
    "json, lines": ("t.json", put(LINES), RIGHT),
    "json, one line": ("t.json", put(ONE), RIGHT[:1]),
    "json, one chat": ("t.json", put(json.dumps({"messages": say(("user", SUM))})), [(SUM, None)]),
    "json, data": ("t.json", put(json.dumps({"version": 1, "data": TABLE})), RIGHT),
    "json, a split": ("t.json", put(json.dumps({"train": TABLE})), RIGHT),
    "json, two splits": (
        "t.json",
        put(json.dumps({"train": TABLE, "test": TABLE})),
        "holds several tables, train, test",
    ),
    "json, columns": ("t.json", put(json.dumps({k: [r[k] for r in TABLE] for k in TABLE[0]})), RIGHT),
    "json of pandas": (
        "t.json",
        put(json.dumps({k: {str(i): r[k] for i, r in enumerate(TABLE)} for k in TABLE[0]})),
        RIGHT,
    ),
    "json, uneven columns": (
        "t.json",
        put('{"problem": ["a", "b"], "answer": ["1"]}'),
        "columns have different lengths",
    ),
    "json, pretty": ("t.jsonl", put("\n".join(json.dumps(row, indent=2) for row in TABLE)), RIGHT),
    "jsonl that is a list": ("t.jsonl", put(json.dumps(TABLE)), r"row 0: expected an object, got \["),
    "a number in lines": ("t.jsonl", put(ONE + "5\n"), "row 1: expected an object, got 5"),
    "csv": ("t.csv", lambda path: separated(path, ","), RIGHT),
    "csv, BOM": ("t.csv", lambda path: separated(path, ",", "utf-8-sig"), RIGHT),
    "csv of Excel": ("t.csv", put("problem;answer\nWhat?;5\n"), "no column for the problem .*it has 'problem;answer'"),
    "csv, a field too many": ("t.csv", put("problem,answer\nWhat?,5,6\n"), "line 2: expected 2 fields, got 3"),
    "csv, a field too few": ("t.csv", put("problem,answer\nWhat?\n"), "line 2: expected 2 fields, got 1"),
    "csv, a name twice": ("t.csv", put("problem,problem\na,b\n"), "two columns are called 'problem'"),
    "csv, Latin 1": ("t.csv", put("problem\ncaf\xe9\n".encode("latin-1")), "line 2: byte 0xe9 is no UTF-8 text"),
    "tsv": ("t.tsv", lambda path: separated(path, "\t"), RIGHT),
    "parquet": ("t.parquet", lambda path: pq.write_table(ARROW, path), RIGHT),
    "arrow stream": ("t.arrow", stream, RIGHT),
    "arrow file": ("t.arrow", arrow_file, RIGHT),
    "gz": ("t.jsonl.gz", put(gzip.compress(LINES.encode())), RIGHT),
    "csv.gz": ("t.csv.gz", put(gzip.compress(b"problem,answer\nWhat?,5\n")), [("What?", "5")]),
    "zst": ("t.jsonl.zst", put(zstd(LINES.encode())), RIGHT),
    "bz2": ("t.jsonl.bz2", put(bz2.compress(LINES.encode())), RIGHT),
    "xz": ("t.json.xz", put(lzma.compress(json.dumps(TABLE).encode())), RIGHT),
    "half a gz": ("t.jsonl.gz", put(gzip.compress(LINES.encode())[:40]), "is not valid .jsonl .*end-of-stream"),
    "no gz": ("t.jsonl.gz", put(LINES), "is not valid .jsonl .*Not a gzipped file"),
    "no zst": ("t.jsonl.zst", put(LINES), "is not valid .jsonl"),
    "zip": ("t.jsonl.zip", put("PK"), "cannot tell the format.*expected .jsonl, .*with .gz"),
    "torn": ("t.jsonl", put(LINES[:-6]), "line 2, column"),
    "torn list": ("t.json", put(json.dumps(TABLE)[:-6]), "line 1, column"),
    "torn parquet": ("t.parquet", put("PAR1 is not all"), "is not valid .parquet"),
    "too many brackets": ("t.json", put("[" * 100_000), "line 1: .*too many brackets"),
    "a web page": ("t.jsonl", put(HTML), "it is a web page"),
    "git-lfs": ("t.parquet", put("version https://git-lfs.github.com/spec/v1\n"), "type `git lfs pull`"),
    "empty": ("t.jsonl", put(""), "holds no prompts; expected at least one row"),
    "save_to_disk": ("t", saved, RIGHT),
    "save_to_disk, parts": ("t", lambda path: saved(path, parts=2), RIGHT),
    "one split": ("t", lambda path: splits(path, "train"), RIGHT),
    "two splits": (
        "t",
        lambda path: splits(path, "test", "train"),
        r"several splits \(test, train\); give one: .*t/test",
    ),
    "shards": ("t", lambda path: folder(path, part__0_dot_jsonl=ONE, part__1_dot_jsonl=TWO), RIGHT),
    "shards of the hub": (
        "t",
        lambda path: folder(path, train__00000__of__00002_dot_jsonl=ONE, train__00001__of__00002_dot_jsonl=TWO),
        RIGHT,
    ),
    "numbers alone": ("t", lambda path: folder(path, **{"0000_dot_jsonl": ONE, "0001_dot_jsonl": TWO}), RIGHT),
    "shards of Spark": (
        "t",
        lambda path: folder(
            path, part__00000__1f3c__c000_dot_json=ONE, part__00001__2ab9__c000_dot_json=TWO, _SUCCESS=""
        ),
        RIGHT,
    ),
    "a shard that is not there": (
        "t",
        lambda path: folder(path, train__00000__of__00002_dot_jsonl=ONE),
        "has 1 of 2 parts of train; fetch the others",
    ),
    "two tables": (
        "t",
        lambda path: folder(path, train__0_dot_jsonl=ONE, test__0_dot_jsonl=TWO),
        r"holds several tables \(test-0.jsonl, train-0.jsonl\); give one, or a pattern",
    ),
    "aime24 and aime25 are no shards": (
        "t",
        lambda path: folder(path, aime24_dot_jsonl=ONE, aime25_dot_jsonl=TWO),
        "holds several tables",
    ),
    "a folder with a README": ("t", lambda path: folder(path, README_dot_md="x", train_dot_jsonl=LINES), RIGHT),
    "a folder without tables": ("t", lambda path: folder(path, README_dot_md="x"), "has none of prompts.jsonl"),
}


@pytest.mark.parametrize("name", FILES)
def test_files(name: str, tmp_path: Path) -> None:
    file, write, expected = FILES[name]
    write(tmp_path / file)
    judge(tmp_path / file, expected)


def test_a_pattern(tmp_path: Path) -> None:
    folder(tmp_path / "t", en_dot_jsonl=ONE, fr_dot_jsonl=TWO, notes_dot_md="x")
    judge(tmp_path / "t" / "*.jsonl", RIGHT)
    judge(tmp_path / "t" / "*.csv", "no file fits")
    judge(tmp_path / "t" / "*", "cannot tell the format of .*notes.md")


def test_one_benchmark_is_not_another(tmp_path: Path) -> None:
    # Both have 30 problems: a folder that lacks one must not give the other.
    folder(tmp_path / "t", aime25_dot_jsonl=ONE)
    with pytest.raises(DataError, match=r"has none of aime24\.jsonl"):
        Place("eval.path", "aime24", str(tmp_path / "t"), (), shared=True).find()
    saved(tmp_path / "t" / "aime24")
    found = Place("eval.path", "aime24", str(tmp_path / "t"), (), shared=True).find()
    assert found.rows()["answer"].tolist() == ["5", "2"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([Decimal("1200.50")], "1200.50"),
        ([Decimal("5.00")], "5"),
        ([datetime(2024, 1, 2, tzinfo=UTC)], "row 0: expected an answer in 'answer'"),
        ([b"5"], "row 0: expected an answer in 'answer'"),
    ],
)
def test_answers_that_only_parquet_has(values: list[Any], expected: str, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"prompt": ["p"], "answer": values}), path)
    judge(path, expected if expected.startswith("row") else [("p", expected)])


def test_a_column_that_the_user_names_keeps_what_belongs_to_it(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"instruction": "Add.", "input": "2 and 3", "output": "5"}) + "\n")
    assert read(path, prompt_field="instruction") == [("Add.\n\n2 and 3", "5")]
    assert read(path, prompt_field="input", answer_field="output") == [("2 and 3", "5")]
