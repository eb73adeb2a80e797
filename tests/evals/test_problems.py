"""Benchmarks in tables: all there, with answers of the right kind; suites, one result each."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tipx.config import build, load
from tipx.errors import DataError
from tipx.evals.exam import problems_fingerprint
from tipx.evals.problems import Problems
from tipx.evals.suite import Suite, suite_parts

THREE = Problems(name="three", size=3, integers=True, hub=(), prompt_field=None, answer_field=None)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows(*answers: Any) -> list[dict[str, Any]]:
    return [{"problem": f"problem {i}", "answer": a} for i, a in enumerate(answers)]


def test_whole_numbers_however_they_are_written(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", rows("073", "336^\\circ", 5))
    assert [p.answer for p in THREE.load(path)] == ["073", "336", "5"]
    assert THREE.source(path) == path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (rows("1", "2"), ["benchmark.size: expected 3 problems of three", "has 2", "benchmark.size=2"]),
        (rows("1", "2", "3", "4"), ["expected 3", "has 4"]),
        (rows("1", "2", "x"), ["problem '2'", "whole number from 0 to 999", "'x'"]),
        (rows("1", "2", "1000"), ["'1000'"]),
        (rows("1", None, "3"), ["problem '1'", "no answer", "benchmark.answer_field"]),
        ([{"problem": "a \x01 b", "answer": "1"}] * 3, ["control character", "another copy"]),
        ([{"text": "a"}], ["no column for the problem", "benchmark.prompt_field"]),
    ],
)
def test_what_is_wrong_is_said(content: list[dict[str, Any]], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        THREE.load(write(tmp_path / "a.jsonl", content))
    for word in words:
        assert word in str(caught.value)


def test_problems_are_chats_too(tmp_path: Path) -> None:
    turns = [{"role": r, "content": c} for r, c in (("system", "s"), ("user", "2 + 3?"), ("assistant", "\\boxed{5}"))]
    parts = [{"role": "user", "content": [{"type": "text", "text": "2 + 3?"}]}]
    table = [{"messages": turns}, {"messages": turns[1:]}, {"messages": [*parts, turns[2]]}]
    brief, alone, same = THREE.load(write(tmp_path / "a.jsonl", table))
    assert [(p.text, p.answer) for p in (brief, alone, same)] == [("2 + 3?", "5")] * 3
    assert (brief.before, alone.before, same.before) == ((("system", "s"),), (), ())
    # What stands before a question makes another problem of it.
    assert problems_fingerprint([brief]) != problems_fingerprint([replace(brief, before=())])
    table[1]["messages"][0] = {"role": "user", "content": [{"type": "image", "image": "x"}]}
    with pytest.raises(DataError, match=r"eval\.path: .*, row 1: .*a part of type 'image' is no text"):
        THREE.load(write(tmp_path / "a.jsonl", table))


def test_another_split_says_its_size(tmp_path: Path) -> None:
    path = write(tmp_path / "gsm8k.jsonl", rows("#### 1,200", "#### 5"))
    job = build(load(["benchmark=gsm8k", f"eval.path={path}", "benchmark.size=2"], "eval"))
    assert [p.answer for p in job.benchmark.load(job.eval.path)] == ["1200", "5"]


@pytest.mark.parametrize(("name", "size"), [("math500", 500), ("aime24", 30), ("aime25", 30), ("gsm8k", 1319)])
def test_known_sizes(name: str, size: int) -> None:
    benchmark = build(load([f"benchmark={name}"], "eval")).benchmark
    assert (benchmark.name, benchmark.size, benchmark.integers) == (name, size, name.startswith("aime"))
    assert benchmark.place(None).candidates()


def test_a_suite_is_its_parts() -> None:
    suite = build(load(["benchmark=paper_math"], "eval")).benchmark
    assert isinstance(suite, Suite)
    assert [one.name for one in suite_parts(suite)] == ["math500", "aime24", "aime25"]
    assert suite_parts(THREE) == [THREE]
    assert replace(THREE, size=4) != THREE
