"""`tipx memory` as typed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.cli.conftest import Done, call
from tipx.config import build, load
from tipx.memory.architectures import load_architecture
from tipx.memory.table import paper_gb, papers_models

Tipx = Callable[..., Done]
SHORT = ["model=qwen3", "--tokens", "256", "--prompt-tokens", "64", "--no-rollout"]


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The command for a pair of the paper, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("memory")
    words = [*SHORT, "selector=entropy_sampling", "ratio=1,0.2", "--implementation", "both", "--out", "out"]
    done = call(folder, "memory", *words, columns=80)
    assert done.code == 0, done.err
    return folder, done


def test_a_row_for_each_ratio_and_implementation_with_the_papers_number(paper: tuple[Path, Done]) -> None:
    frame = pd.read_csv(paper[0] / "out" / "memory.csv")
    assert list(zip(frame.ratio, frame.implementation, strict=True)) == [
        (1.0, "materialise"),
        (1.0, "tiled"),
        (0.2, "materialise"),
        (0.2, "tiled"),
    ]
    assert frame["paper, GB"].tolist() == [72.0, 72.0, 35.5, 35.5]
    assert frame["rollout"].isna().all()
    parts = frame[[name for name in frame.columns if name.startswith("peak/")]].sum(axis=1)
    pd.testing.assert_series_equal(parts, frame["peak"], check_names=False)
    for text in ("72.0", "35.5", "paper, GB", "rollouts elsewhere", "320 tokens a sequence"):
        assert text in paper[1].out


def test_what_is_saved_is_said_and_can_be_read(paper: tuple[Path, Done]) -> None:
    folder, done = paper
    for kind in ("csv", "json", "png"):
        assert f"out/memory.{kind}" in done.out
    saved = json.loads((folder / "out" / "memory.json").read_text())
    assert (saved["unit"], len(saved["rows"]), saved["layout"]["tokens"]) == ("GiB", 4, 256)
    assert (folder / "out" / "memory.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in folder.iterdir()] == ["out"]


def test_the_table_fits_a_narrow_terminal(paper: tuple[Path, Done]) -> None:
    assert "materialise" in paper[1].out
    assert max(len(line) for line in paper[1].out.splitlines()) <= 80


def test_the_papers_numbers_are_found_by_rule_and_ratio() -> None:
    assert paper_gb("llama", "q3_only", 0.1) == 32.4
    assert paper_gb("qwen2_5", "soft_or", 1.0) == 35.8
    assert paper_gb("qwen2_5", "soft_or", 0.5) is None
    assert paper_gb("tiny", "full", 1.0) is None


WRONG = {
    "unknown model": (
        ["model.teacher.path=a/b"],
        ["model.teacher.path", "'a/b'"],
    ),
    "ratio above 1": (["ratio=0.5,2"], ["ratio", "less than or equal to 1"]),
    "unknown selector": (["selector=softor"], ["selector=softor", "did you mean soft_or"]),
    "an interval": (["ratio=interval(0,1)"], ["interval", "ratio=1,2"]),
    "no tokens": (["--tokens", "0"], ["--tokens", "greater than or equal to 1"]),
    "ranks that do not divide": (["--processes", "7"], ["--processes 7", "loop.prompts"]),
    "groups that do not divide": (
        ["--processes", "8", "--shard", "3", "loop.prompts=24"],
        ["hardware.fsdp_size=3", "8"],
    ),
    "nobody to share with": (["hardware.strategy=fsdp"], ["hardware.strategy=fsdp", "loop.processes=2"]),
    "unknown device": (["--on", "h1"], ["--on h1", "h200"]),
    "two kinds of device": (["--on", "h100", "--time", "here"], ["--time here --on h100", "name one"]),
    "unknown offload": (["model.teacher.offload=disk"], ["model.teacher.offload", "'none' or 'cpu'", "disk"]),
    "out is a file": (["--out", "there"], ["--out there", "folder"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line(case: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")
    args, needles = WRONG[case]
    done: Any = call(tmp_path, "memory", *args)
    assert (done.code, done.err.count("\n"), done.err[:7]) == (2, 1, "error: "), done.err
    for needle in needles:
        assert needle in done.err


def test_they_are_beside_the_papers_models_alone(tmp_path: Path) -> None:
    pair = build(load(["model=qwen3"])).model
    assert papers_models("qwen3", pair)
    # The paper's sizes from another place are the paper's model; a smaller one, or one that lost layers, is not.
    load_architecture("student", pair.student).save_pretrained(tmp_path)
    assert papers_models("qwen3", replace(pair, student=replace(pair.student, path=str(tmp_path))))
    student = replace(pair.student, path="Qwen/Qwen3-1.7B")
    assert not papers_models("qwen3", replace(pair, student=student))
    assert not papers_models("qwen3", replace(pair, student=replace(pair.student, keep_layers=[0, 1])))
    assert not papers_models("qwen3", replace(pair, teacher=replace(pair.teacher, path="Qwen/Qwen3-32B")))
    assert not papers_models("tiny", build(load(["model=tiny"])).model)


@pytest.mark.slow
def test_time_is_told_for_a_device(tmp_path: Path) -> None:
    words = ["model=tiny", "ratio=1,0.1", "loop.eval_every=0", "--tokens", "8", "--prompt-tokens", "8"]
    done = call(tmp_path, "memory", *words, "--time", "h100", columns=100)
    assert done.code == 0, done.err
    assert "predicted time on h100 (NVIDIA H100 SXM data sheet; 50% of its peaks)" in done.out
    rows = json.loads(call(tmp_path, "memory", *words, "--time", "h100", "--json").out)
    rows = rows if isinstance(rows, list) else rows["rows"]
    assert [row["ratio"] for row in rows] == [1, 0.1]
    assert rows[0]["step/head loss_s"] >= rows[1]["step/head loss_s"]
    assert rows[0]["run_h"] == pytest.approx(150 * rows[0]["step_s"] / 3600)


def test_an_unknown_device_is_one_line(tmp_path: Path) -> None:
    done = call(tmp_path, "memory", "--time", "h1")
    assert done.code == 2
    assert done.err.strip() == "error: --time h1: no such device; expected here, h200, h100, a100, rtx4090"
