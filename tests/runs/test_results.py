"""A result's numbers are those of its answers: what was edited or damaged is named, and never shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tipx.errors import Damaged
from tipx.runs.results import CHECKSUM, read_result, seal_facts, text_checksum

VALUES = {"a": [1, 1], "b": [1, 0], "c": [0, 0]}


def answers() -> list[dict[str, Any]]:
    """Two samples of each of three problems, one of them cut off, and a greedy answer to each."""
    rows = [
        {"mode": "sample", "id": name, "value": v, "outcome": "correct" if v else "wrong", "stop": "eos"}
        for name, values in VALUES.items()
        for v in values
    ]
    rows[-1] |= {"outcome": "truncated", "stop": "length"}
    return rows + [{"mode": "greedy", "id": name, "value": values[0]} for name, values in VALUES.items()]


def facts() -> dict[str, Any]:
    """By hand: means of problems 1, 1/2, 0; their standard deviation is 1/2."""
    return {
        "benchmark": "x", "problems": 3, "n": 2, "mean": 0.5, "mean_se": 0.5 / 3**0.5, "greedy": 2 / 3,
        "scores": {"a": 1.0, "b": 0.5, "c": 0.0}, "outcomes": {"correct": 3, "wrong": 2, "truncated": 1, "no_box": 0},
        "clipped_ratio": 1 / 6, "pass_at": {"1": 0.5, "2": 2 / 3},
    }  # fmt: skip


def write(folder: Path, rows: list[dict[str, Any]], result: dict[str, Any], *, named: bool = True) -> Path:
    folder.mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "samples.jsonl").write_text(text)
    result = result | ({CHECKSUM: text_checksum(text)} if named else {})
    (folder / "result.json").write_text(json.dumps(result))
    return folder / "result.json"


@pytest.mark.parametrize("named", [True, False])
def test_what_was_written_is_read(named: bool, tmp_path: Path) -> None:
    file = write(tmp_path / "r", answers(), facts(), named=named)
    assert read_result(file).items() >= facts().items()


def test_a_result_of_before_answers_were_kept_is_read(tmp_path: Path) -> None:
    file = write(tmp_path / "r", answers(), facts(), named=False)
    (tmp_path / "r" / "samples.jsonl").unlink()
    assert read_result(file)["mean"] == 0.5


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("mean", 0.51), ("mean_se", 0.1), ("greedy", 1.0), ("problems", 4), ("n", 4), ("clipped_ratio", 0)),
        *(("scores", {"a": 1.0, "b": 1.0, "c": 0.0}), ("pass_at", {"1": 0.5, "2": 1.0})),
        ("outcomes", {"correct": 4, "wrong": 1, "truncated": 1, "no_box": 0}),
    ],
)
def test_an_edited_number_is_named(key: str, value: Any, named: bool, tmp_path: Path) -> None:
    file = write(tmp_path / "r", answers(), facts() | {key: value}, named=named)
    with pytest.raises(Damaged, match=rf"result\.json is damaged: its {key} is .*, but that of its answers is"):
        read_result(file)


def edit(change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda file: file.write_text(change(file.read_text()))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (edit(lambda t: t.replace('"value": 1', '"value": 0', 1)), "checksum"),
        (edit(lambda t: t[:-30]), "is no JSON"),
        (edit(lambda t: t.replace("\n", "\n[1]\n", 1)), "line 2 holds list, not an object"),
        (edit(lambda t: t.replace('"mode": "sample", ', "", 1)), "checksum"),
        (lambda f: f.write_bytes(b"\x00" * 50), "line 1 is no JSON"),
        (lambda f: f.write_bytes(b"\xff\xfe"), "no text"),
        (lambda f: f.write_text("[" * 100_000), "nested too deeply"),
        (lambda f: f.unlink(), "cannot be read"),
        (lambda f: (f.unlink(), f.mkdir()), "cannot be read"),
    ],
)
def test_damaged_answers_are_named(harm: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    file = write(tmp_path / "r", answers(), facts())
    harm(tmp_path / "r" / "samples.jsonl")
    with pytest.raises(Damaged, match=rf"samples\.jsonl is damaged: .*{said}") as caught:
        read_result(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"value": 2}, {"value": "1"}, {"value": None}, {"id": 3}, {"mode": None}])
def test_answers_that_cannot_be_are_named(change: dict[str, Any], tmp_path: Path) -> None:
    rows = answers()
    rows[0] |= change
    with pytest.raises(Damaged):
        read_result(write(tmp_path / "r", rows, facts(), named=False))


@pytest.mark.parametrize("change", [{"note": "mine"}, {"mean_length": 3.0}, {"partial": True}])
def test_a_sealed_result_is_as_it_was_written(change: dict[str, Any], tmp_path: Path) -> None:
    written = seal_facts(facts() | {"mean_length": 2.0, "partial": False, "template": ("a", 1)})
    file = write(tmp_path / "r", answers(), written, named=False)
    assert read_result(file) == written
    file.write_text(json.dumps(written | change))
    with pytest.raises(Damaged, match="it was changed after it was written"):
        read_result(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"benchmark": 3}', '{"benchmark": "x", "mean": "high"}'])
def test_what_is_no_result_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(Damaged, match=r"result\.json is damaged: .*; move its folder away and evaluate again"):
        read_result(tmp_path / "result.json")


def test_held_out_texts_are_counted_again(tmp_path: Path) -> None:
    # Two texts of 1 and 3 tokens: exp of 4 nats over 4 tokens is e; reverse KL (1 + 3) / 4.
    rows = [
        {"text": i, "tokens": n, "student_logprob": -float(n), "teacher_logprob": 0.0, "reverse_kl": n, "forward_kl": 0}
        for i, n in enumerate((1, 3))
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    result = {"texts": 2, "tokens": 4, "perplexity": 2.718281828459045, "teacher_perplexity": 1.0}
    result |= {"reverse_kl": 1.0, "forward_kl": 0.0, CHECKSUM: text_checksum(text)}
    (tmp_path / "texts.jsonl").write_text(text)
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert read_result(tmp_path / "result.json")["texts"] == 2
    (tmp_path / "result.json").write_text(json.dumps(result | {"perplexity": 2.6}))
    with pytest.raises(Damaged, match=r"its perplexity is 2\.6, but that of its answers is 2\.7182"):
        read_result(tmp_path / "result.json")
