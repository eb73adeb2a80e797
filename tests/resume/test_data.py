"""A run knows its data: other prompts under the same name are not trained on in silence."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rows import lasting
from tipx.errors import Damaged, RunError
from tipx.runs.directory import Run
from tipx.train.start import train_run

Overrides = Callable[..., list[str]]
QUESTIONS = [f"tom has {n} pens . how many ?" for n in range(2, 10)]


@pytest.fixture
def args(overrides: Overrides, tmp_path: Path) -> list[str]:
    write(tmp_path, QUESTIONS)
    usual = [one for one in overrides() if not one.startswith("data.size")]
    return [*usual, "data=file", f"data.path={tmp_path}/p.jsonl", "loop.prompts=4"]


def write(folder: Path, questions: list[str], answer: str = "5") -> bytes:
    text = "".join(json.dumps({"prompt": question, "answer": answer}) + "\n" for question in questions)
    (folder / "p.jsonl").write_text(text)
    return text.encode()


def train(args: list[str], *, fresh: bool = False) -> Run:
    return train_run(args, fresh=fresh, config_dir=None)[0]


def stop_after_step_2(run: Run) -> None:
    """As a kill between two checkpoints leaves it."""
    (run.path / "summary.json").unlink()
    lines = run.metrics_file.read_text().splitlines(keepends=True)
    run.metrics_file.write_text("".join(lines[:-1]))


def test_a_run_names_its_data_and_refuses_other(args: list[str], tmp_path: Path) -> None:
    run = train(args)
    noted, data = run.provenance()["data"], (tmp_path / "p.jsonl").read_bytes()
    files = [{"path": f"{tmp_path}/p.jsonl", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}]
    assert (noted["files"], noted["rows"], noted["prompts"]) == (files, 8, 8)
    rows = [lasting(row) for row in run.rows()]

    stop_after_step_2(run)
    write(tmp_path, ["mia has 3 pens ?", *QUESTIONS[1:]])
    with pytest.raises(RunError, match="trained on 8 prompts of fingerprint") as caught:
        train(args)
    assert f"fingerprint {noted['sha256'][:12]}, and there are 8 of " in str(caught.value)
    assert "train anew with --fresh" in str(caught.value)
    assert run.provenance()["data"] == noted

    # Their order is part of it; what is no part of a prompt is not.
    write(tmp_path, QUESTIONS[::-1])
    with pytest.raises(RunError, match="fingerprint"):
        train(args)
    write(tmp_path, QUESTIONS, answer="another")
    assert [lasting(row) for row in train(args).rows()] == rows

    stop_after_step_2(run)
    write(tmp_path, QUESTIONS[:4])
    train(args, fresh=True)
    assert run.provenance()["data"]["prompts"] == 4


def test_a_run_of_before_goes_on(args: list[str], tmp_path: Path) -> None:
    run = train(args)
    stop_after_step_2(run)
    noted = run.provenance()
    (run.path / "provenance.json").write_text(json.dumps({k: v for k, v in noted.items() if k != "data"}))
    write(tmp_path, QUESTIONS[::-1])
    train(args)
    assert run.finished
    assert run.provenance()["data"]["sha256"] != noted["data"]["sha256"]


@pytest.mark.parametrize("wrong", [5, "x", {}, {"sha256": 1, "prompts": 8}, {"sha256": "x"}])
def test_a_fingerprint_that_is_none(wrong: object, tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text(json.dumps({"data": wrong}))
    with pytest.raises(Damaged, match="its data have no fingerprint"):
        Run(tmp_path).provenance()
