"""Training prompts that are benchmark problems: found however they are spelled, and nothing else."""

import base64
import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants

from tipx.config import conf_dir
from tipx.evals import contamination as module
from tipx.evals.contamination import (
    FILE,
    Contamination,
    Guard,
    hashes_text,
    known_hashes,
    normalise_spelling,
    shipped_problem_tables,
    spelling_mark,
)
from tipx.evals.problems import Problems
from tipx.evals.suite import Suite
from tipx.types import Prompt, Turn

OWN = Problems(name="own", size=2, integers=False, hub=(), prompt_field=None, answer_field=None)
KNOWN = Problems(
    name="known", size=1, integers=False, hub=("hf://datasets/o/n/x.jsonl",), prompt_field=None, answer_field=None
)
SHIPPED = {"aime24": 30, "aime25": 30, "gsm8k": 1319, "math500": 500}
DIGEST = "c9c96f5a5f10"  # `printf 'whatis2+3?' | sha256sum`, its first 12 digits
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
    assert (found.checked, found.unread) == (SHIPPED | {"own": 2}, ["known"])
    assert ({name for name, ids in found.dropped.items() if ids}, found.ids) == ({"own"}, {"a"})
    left_out, unchecked = found.warnings()
    assert left_out == (
        "left out 1 training prompts that are benchmark problems: 1 of own; guard.enabled=false keeps them"
    )
    assert unchecked.startswith("not checked against known: no file of it can be read here, and tipx has no hashes of")


def test_a_folder_holds_the_known_ones_too(folder: Path) -> None:
    suite = Suite(name="both", parts={"own": OWN})
    found = Guard(enabled=True, known={"known": KNOWN})(PROMPTS, suite, str(folder))
    assert found.ids == {"a", "c"}
    assert found.record()["checked"] == SHIPPED | {"known": 1, "own": 2}
    assert (found.unread, found.warnings()[1:]) == ([], [])


def test_an_earlier_turn_may_be_a_problem_too(folder: Path) -> None:
    chats = [
        Prompt("a", "Sure?", before=(Turn("user", "x"), Turn("assistant", "4"))),
        Prompt("b", "Sure?", before=(Turn("system", "x"),)),
    ]
    assert Guard(enabled=True, known={})(chats, OWN, str(folder / "own.jsonl")).ids == {"a"}


def test_off_is_off(folder: Path) -> None:
    found = Guard(enabled=False, known={})(PROMPTS, OWN, str(folder))
    assert (found.ids, found.line()) == (set(), "not checked: guard.enabled=false")


def test_a_benchmark_that_is_not_whole_is_not_checked(folder: Path) -> None:
    (folder / "own.jsonl").write_text('{"problem": "x", "answer": "1"}\n')
    assert Guard(enabled=True, known={})(PROMPTS, OWN, str(folder / "own.jsonl")).unread == ["own"]


def test_spelling() -> None:
    assert normalise_spelling("If $\\left| m \\right|$ is\\, 3 ?") == normalise_spelling("if $$|m|$$ is 3?")
    assert normalise_spelling("a + b") != normalise_spelling("a - b")
    asked = "What is 2 + 3?\nPlease reason step by step, and put your final answer within \\boxed{}."
    assert normalise_spelling(asked) == normalise_spelling("What is $2 + 3$?")


# --- what comes with tipx ---------------------------------------------------------------------------------------------


def test_every_table_of_conf_is_checked_and_no_other_list_says_which() -> None:
    files = {file.stem: yaml.safe_load(file.read_text()) for file in (conf_dir() / "benchmark").glob("*.yaml")}
    named = {tree["name"] for tree in files.values() if tree.get("_target_") == "tipx.evals.problems.Problems"}
    assert {one.name for one in shipped_problem_tables()} == named == set(SHIPPED)
    found = Guard(enabled=True, known={})([], OWN, None)
    assert named <= {*found.checked, *found.unread}


def test_the_hashes_are_whole_and_made_by_the_rules_of_today() -> None:
    assert {name: len(found) for name, found in known_hashes().items()} == SHIPPED
    # Whoever changes SPELLING makes them again: `tipx data hashes` in docs/howto/extend.md.
    assert json.loads(FILE.read_text())["spelling"] == spelling_mark()
    assert FILE.stat().st_size < 20_000
    assert {len(one) for found in known_hashes().values() for one in found} == {6}


def test_a_problem_is_found_by_its_hash_with_no_file_at_hand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "known_hashes", lambda: {"known": frozenset({bytes.fromhex(DIGEST)})})
    prompts = [Prompt("x", "What is $2 + 3$ ?"), Prompt("y", "What is 2 - 3?")]
    found = Guard(enabled=True, known={"known": KNOWN})(prompts, OWN, str(folder / "own.jsonl"))
    assert (found.dropped["known"], found.hashed, found.checked["known"]) == (["x"], ["known"], 1)
    assert "known (1, by hash)" in found.line()
    # Those that nothing is known of are said, and not with an ok.
    assert found.unread == sorted(SHIPPED)


def test_hashes_are_made_from_files_and_others_stay() -> None:
    made = json.loads(hashes_text({"own": [Prompt("a", "What is 2 + 3?")]}))
    assert made["spelling"] == spelling_mark()
    assert base64.b64decode(made["benchmarks"]["own"]).hex() == DIGEST
    assert made["benchmarks"].keys() == {*SHIPPED, "own"}


def test_a_run_that_began_before_there_were_hashes_goes_on() -> None:
    noted = {"checked": {"own": 2}, "unread": ["known"], "dropped": {"own": ["a"]}}
    assert (Contamination(**noted).ids, Contamination(**noted).hashed) == ({"a"}, [])
