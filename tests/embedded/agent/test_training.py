"""A short run of the experiment as it is shipped: several turns, and no loss on what tools say."""

import json

import pytest

from tipx.runs.directory import Run
from tipx.train.start import train_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    rule = ["experiment=tiny_agent", "selector=q3_only", "ratio=0.2"]
    short = ["loop.steps=2", "loop.prompts=4", "data.size=16", "loop.sample_every=1", "eval.limit=4", "eval.n=1"]
    place = [f"runs_dir={tmp_path_factory.mktemp('runs')}", "hardware.device=cpu"]
    return train_run([*rule, *short, *place], fresh=False, config_dir=None)[0]


def test_trajectories_have_turns_and_a_score(run: Run) -> None:
    first, *rows = run.rows()
    assert 0 <= first["eval/tiny_agent/mean"] <= 1
    assert [row["step"] for row in rows] == [1, 2]
    for row in rows:
        assert row["agent/turns"] >= 2
        assert row["agent/case_score"] == row["agent/score"]
        assert row["train/applied"]


def test_no_weight_is_on_what_a_tool_said(run: Run) -> None:
    lines = (run.path / "rollouts" / "000001.jsonl").read_text().splitlines()
    heard = 0
    for sample in map(json.loads, lines):
        assert not any(w for w, own in zip(sample["weights"], sample["valid"], strict=True) if not own)
        heard += sum(piece == "tool" for piece in map(str.strip, sample["pieces"]))
    assert heard
