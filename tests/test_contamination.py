"""Training prompts that are benchmark problems: found however they are spelled, and nothing else."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from tipx.contamination import Guard, spelling
from tipx.evals.problems import Problems
from tipx.evals.suite import Suite
from tipx.types import Prompt, Turn

OWN = Problems(name="own", size=2, integers=False, hub=(), prompt_field=None, answer_field=None)
KNOWN = Problems(
    name="known", size=1, integers=False, hub=("hf://datasets/o/n/x.jsonl",), prompt_field=None, answer_field=None
)
PROMPTS = [Prompt("a", "What is $\\dfrac{1}{2}$ of\n 8?"), Prompt("b", "Another"), Prompt("c", "known  PROBLEM")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name, texts in (("own", ["what is \\frac{1}{2} of 8?", "x"]), ("known", ["Known problem"])):
        lines = [json.dumps({"problem": text, "answer": "4"}) + "\n" for text in texts]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    return tmp_path


def test_the_runs_own_benchmark_is_read_from_its_path(folder: Path) -> None:
    found = Guard(enabled=True, known={"known": KNOWN})(PROMPTS, OWN, str(folder / "own.jsonl"))
    assert (found.checked, found.unread, found.dropped, found.ids) == ({"own": 2}, ["known"], {"own": ["a"]}, {"a"})
    assert (
        found.line()
        == "left out 1 training prompts that are benchmark problems: 1 of own; guard.enabled=false keeps them"
    )


def test_a_folder_holds_the_known_ones_too(folder: Path) -> None:
    suite = Suite(name="both", parts={"own": OWN})
    found = Guard(enabled=True, known={"known": KNOWN})(PROMPTS, suite, str(folder))
    assert found.ids == {"a", "c"}
    assert found.record()["checked"] == {"known": 1, "own": 2}


def test_an_earlier_turn_may_be_a_problem_too(folder: Path) -> None:
    chats = [
        Prompt("a", "Sure?", before=(Turn("user", "x"), Turn("assistant", "4"))),
        Prompt("b", "Sure?", before=(Turn("system", "x"),)),
    ]
    assert Guard(enabled=True, known={})(chats, OWN, str(folder / "own.jsonl")).ids == {"a"}


def test_off_is_off(folder: Path) -> None:
    assert not Guard(enabled=False, known={})(PROMPTS, OWN, str(folder)).ids


def test_a_benchmark_that_is_not_whole_is_not_checked(folder: Path) -> None:
    (folder / "own.jsonl").write_text('{"problem": "x", "answer": "1"}\n')
    assert Guard(enabled=True, known={})(PROMPTS, OWN, str(folder / "own.jsonl")).unread == ["own"]


def test_spelling() -> None:
    assert spelling("If $\\left| m \\right|$ is\\, 3 ?") == spelling("if $$|m|$$ is 3?")
    assert spelling("a + b") != spelling("a - b")
